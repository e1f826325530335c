/// \file
/// Which keys a host may show.
#pragma once

#include <libssh/libssh.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

struct FreeSshKey {
  void operator()(ssh_key key) const noexcept { ssh_key_free(key); }
};
using SshKey = std::unique_ptr<ssh_key_struct, FreeSshKey>;

/// A key as people compare it: "ssh-ed25519 SHA256:...".
std::string describe_key(ssh_key key);

/// The keys on record for one host, in OpenSSH's known-hosts format: patterns, hashed names, [name]:port and
/// @revoked are understood; of certificate authorities only that there are some. Judges as ssh(1) does.
class KnownHosts {
 public:
  /// `name`, in lower case, is what the host is called. With a port of its own an entry for [name]:port decides;
  /// where there is none, an entry for the plain name is good for the key it has and says nothing about others.
  KnownHosts(const std::string& name, unsigned port);
  /// HostKeyAlias: looked up as it stands, whatever the port is.
  static KnownHosts under_alias(const std::string& alias) { return {alias, 22}; }

  /// Adds the entries for this host from known-hosts lines; `origin` says in errors where they are from.
  void add_text(std::string_view text, const std::string& origin);
  /// The same from a file; one that is missing or unreadable is passed over.
  void add_file(const std::string& path);

  /// Whether nothing is on record under the name that decides.
  [[nodiscard]] bool empty() const noexcept;
  /// Whether there is a @cert-authority for this host.
  [[nodiscard]] bool has_authority() const noexcept { return has_authority_; }
  /// The host key algorithms to ask the host for: those of `allowed` (comma-separated), the ones for known keys
  /// first.
  [[nodiscard]] std::string algorithms(std::string_view allowed) const;

  enum class Verdict { known, unknown, changed, revoked };
  [[nodiscard]] Verdict judge(ssh_key presented) const;
  /// The known keys and their origins as one line.
  [[nodiscard]] std::string describe() const;
  /// Appends a line for `key` to the file at `path`. Throws Error{io}.
  void remember(ssh_key key, const std::string& path) const;

 private:
  struct Entry {
    SshKey key;
    std::string origin;
    bool revoked;
    bool decides;  // false: it stands under the plain name of a host with a port of its own
  };

  void add_line(std::string line, const std::string& origin);
  [[nodiscard]] static SshKey match(const std::string& name, const std::string& line);

  std::vector<std::string> names_;  // as they stand in the files; the first decides
  std::vector<Entry> keys_;
  bool has_authority_ = false;
};

}  // namespace crossover
