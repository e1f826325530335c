#include "ssh/login_keys.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

namespace crossover {
namespace {

// Refuses: nobody is there to type a passphrase, and without a callback OpenSSL would ask the terminal itself.
int no_passphrase(const char*, char*, std::size_t, int, int, void*) {
  return -1;
}

std::string decoded(std::string_view base64) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  unsigned group = 0;
  unsigned bits = 0;
  for (const char c : base64) {
    const auto digit = digits.find(c);
    if (digit == std::string_view::npos) break;
    group = group << 6 | static_cast<unsigned>(digit);
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes += static_cast<char>(group >> bits & 0xff);
  }
  return bytes;
}

// The public key or certificate as the protocol has it.
std::string blob_of(ssh_key key) {
  char* encoded = nullptr;
  if (key == nullptr || ssh_pki_export_pubkey_base64(key, &encoded) != SSH_OK) return {};
  std::string blob = decoded(encoded);
  ssh_string_free_char(encoded);
  return blob;
}

// The first string of what is left of a blob, which is taken off.
std::string_view take_field(std::string_view& rest) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    size = size << 8 | (i < rest.size() ? static_cast<unsigned char>(rest[i]) : 0U);
  }
  const std::string_view field = rest.substr(std::min<std::size_t>(4, rest.size()), size);
  rest.remove_prefix(std::min(4 + size, rest.size()));
  return field;
}

// A certificate's blob is its type, a nonce, what the key's blob has after its type, and more.
bool is_certificate_of(std::string_view certificate, std::string_view key) {
  if (key.empty()) return false;
  const std::string_view type = take_field(key);
  const std::string_view certified = take_field(certificate);
  (void)take_field(certificate);
  return certified == std::string(type) + "-cert-v01@openssh.com" && certificate.starts_with(key);
}

bool is_security_key(std::string_view type) {
  return type.starts_with("sk-") || type.starts_with("webauthn-sk-");
}

SshKey public_half(const std::string& file) {
  ssh_key key = nullptr;
  if (ssh_pki_import_pubkey_file(file.c_str(), &key) == SSH_OK) return SshKey(key);
  if (ssh_pki_import_pubkey_file((file + ".pub").c_str(), &key) == SSH_OK) return SshKey(key);
  return nullptr;
}

SshKey certificate_in(const std::string& file) {
  ssh_key key = nullptr;
  return ssh_pki_import_cert_file(file.c_str(), &key) == SSH_OK ? SshKey(key) : nullptr;
}

SshKey private_key_in(const std::string& file) {
  ssh_key key = nullptr;
  return ssh_pki_import_privkey_file(file.c_str(), nullptr, no_passphrase, nullptr, &key) == SSH_OK ? SshKey(key)
                                                                                                      : nullptr;
}

// Why the private key in the file is of no use; empty: it is.
std::string fault_of(const std::string& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0 || ::access(file.c_str(), R_OK) != 0) return std::strerror(errno);
  // As ssh, which leaves such keys alone.
  if (status.st_uid == ::getuid() && (status.st_mode & 077) != 0) {
    return "others may read it, so ssh does not use it; chmod 600";
  }
  return private_key_in(file) ? "" : "unreadable, or it has a passphrase";
}

// Those that ssh looks for by itself are seldom all there, and not worth a word.
bool is_default_name(std::string_view file) {
  const auto slash = file.rfind('/');
  const std::string_view folder = file.substr(0, slash == std::string_view::npos ? 0 : slash);
  const std::string_view name = file.substr(folder.size());
  constexpr std::string_view names[] = {"/id_rsa",     "/id_ecdsa", "/id_ecdsa_sk", "/id_ed25519",
                                        "/id_ed25519_sk", "/id_xmss",  "/id_dsa",      "/id_mldsa44_ed25519"};
  return folder.ends_with("/.ssh") && std::find(std::begin(names), std::end(names), name) != std::end(names);
}

/// A file that may be offered, and what it is in the agent.
struct Candidate {
  LoginKey key;
  std::string blob;  ///< of the public key or certificate; empty: unknown
};

class LoginKeyFinder {
 public:
  LoginKeyFinder(const SshConfig& config, const std::vector<AgentKey>& agent) : config_(config), agent_(agent) {}

  LoginKeys find() {
    for (const std::string& file : config_.identities) identity(file);
    for (const std::string& file : config_.certificates) {
      if (auto candidate = certificate(file)) found_.offered.push_back(std::move(candidate->key));
    }
    // Those of the agent's that are files of the configuration come first, in the agent's order, then its others.
    std::vector<LoginKey> others;
    for (const AgentKey& key : agent_) from_agent(key, others);
    found_.offered.insert(found_.offered.end(), others.begin(), others.end());
    for (Candidate& candidate : candidates_) found_.offered.push_back(std::move(candidate.key));
    return std::move(found_);
  }

 private:
  void identity(const std::string& file) {
    const SshKey key = public_half(file);
    const std::string blob = blob_of(key.get());
    const std::string fault = fault_of(file);
    if (key && is_security_key(ssh_key_type_to_char(ssh_key_type(key.get())))) {
      if (::access(file.c_str(), R_OK) == 0) found_.beyond_libssh.push_back("the security key " + file);
    } else if (fault.empty() || in_agent(blob)) {
      usable_.push_back({.file = file, .blob = blob, .private_half = fault.empty()});
      candidates_.push_back({{.name = file, .file = file, .certificate = {}, .blob = {}}, blob});
    } else if (!is_default_name(file) || ::access(file.c_str(), F_OK) == 0) {
      found_.passed_over.push_back(file + " (" + fault + ")");
    }
    const std::string beside = file + "-cert.pub";
    if (!config_.certificates.empty() || ::access(beside.c_str(), F_OK) != 0) return;
    if (auto candidate = certificate(beside)) candidates_.push_back(std::move(*candidate));
  }

  std::optional<Candidate> certificate(const std::string& file) {
    const SshKey certificate = certificate_in(file);
    if (!certificate) {
      found_.passed_over.push_back(file + " (no certificate)");
      return std::nullopt;
    }
    const std::string blob = blob_of(certificate.get());
    const auto owner = std::find_if(usable_.begin(), usable_.end(),
                                    [&](const Usable& usable) { return is_certificate_of(blob, usable.blob); });
    if (in_agent(blob)) return Candidate{{.name = file, .file = {}, .certificate = file, .blob = blob}, blob};
    if (owner != usable_.end() && owner->private_half) {
      return Candidate{{.name = file, .file = owner->file, .certificate = file, .blob = {}}, blob};
    }
    if (owner != usable_.end() || agent_has_key_of(blob)) {
      found_.beyond_libssh.push_back("the certificate " + file + " for a key of the ssh agent's");
    } else {
      found_.passed_over.push_back(file + " (without its private key)");
    }
    return std::nullopt;
  }

  void from_agent(const AgentKey& key, std::vector<LoginKey>& others) {
    const auto candidate = std::find_if(candidates_.begin(), candidates_.end(),
                                        [&](const Candidate& one) { return one.blob == key.blob; });
    const bool configured = candidate != candidates_.end();
    if (!configured && config_.identities_only) return;
    std::string_view rest = key.blob;
    if (is_security_key(take_field(rest))) {
      found_.beyond_libssh.push_back("the agent's security key " + key.comment);
      if (configured) candidates_.erase(candidate);
      return;
    }
    const std::string name = (configured ? candidate->key.name : key.comment) + " of the agent";
    LoginKey offered{.name = name, .file = {}, .certificate = {}, .blob = key.blob};
    (configured ? found_.offered : others).push_back(std::move(offered));
    if (configured) candidates_.erase(candidate);
  }

  [[nodiscard]] bool in_agent(const std::string& blob) const {
    return !blob.empty() &&
           std::any_of(agent_.begin(), agent_.end(), [&](const AgentKey& key) { return key.blob == blob; });
  }

  [[nodiscard]] bool agent_has_key_of(const std::string& certificate) const {
    return std::any_of(agent_.begin(), agent_.end(),
                       [&](const AgentKey& key) { return is_certificate_of(certificate, key.blob); });
  }

  struct Usable {
    std::string file;
    std::string blob;
    bool private_half;  ///< false: it is in the agent
  };

  const SshConfig& config_;
  const std::vector<AgentKey>& agent_;
  std::vector<Usable> usable_;
  std::vector<Candidate> candidates_;
  LoginKeys found_;
};

}  // namespace

LoginKeys find_login_keys(const SshConfig& config, const std::vector<AgentKey>& agent) {
  return LoginKeyFinder(config, agent).find();
}

SshKey load_login_key(const LoginKey& key) {
  SshKey loaded = private_key_in(key.file);
  if (!loaded || key.certificate.empty()) return loaded;
  const SshKey certificate = certificate_in(key.certificate);
  if (!certificate || ssh_pki_copy_cert_to_privkey(certificate.get(), loaded.get()) != SSH_OK) return nullptr;
  return loaded;
}

}  // namespace crossover
