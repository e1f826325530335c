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
/// @revoked are understood; certificate authorities are not (their lines are passed over).
class KnownHosts {
 public:
  /// `names`: what the host is called; an entry for any of them counts. All lower case.
  KnownHosts(std::vector<std::string> names, unsigned port);

  /// Adds the entries for this host from known-hosts lines; `origin` says in errors where they are from.
  void add_text(std::string_view text, const std::string& origin);
  /// The same from a file; one that is missing or unreadable is passed over.
  void add_file(const std::string& path);

  [[nodiscard]] bool empty() const noexcept { return keys_.empty(); }
  /// The host key algorithms to ask the host for, those of the known keys first; empty if no key is known.
  [[nodiscard]] std::string algorithms() const;

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
  };

  void add_line(std::string line, const std::string& origin);
  [[nodiscard]] SshKey match(const std::string& line) const;

  std::vector<std::string> names_;  // as they stand in the files
  std::vector<Entry> keys_;
};

}  // namespace crossover
