/// \file
/// ssh public keys, as they stand in a .pub file and in authorized_keys (sshd(8), AUTHORIZED_KEYS FILE FORMAT; RFC
/// 4253 section 6.6, RFC 5656, RFC 8709 and OpenSSH's PROTOCOL.u2f for what a blob is made of).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace crossover {

/// A key whose blob was taken apart and found to be one of its type. Both members are plain words: letters, digits
/// and what base64 and the types' names have besides.
struct PublicKey {
  std::string type;    ///< "ssh-ed25519"
  std::string base64;  ///< its blob, in the one form that encodes it

  bool operator==(const PublicKey&) const = default;
};

/// Whether sshd takes the word for the type of a key or of a certificate, allowed here or not.
bool is_key_type(std::string_view word) noexcept;

/// The key of a type and its blob in base64; nothing if the type is none that a source may have (ssh-ed25519,
/// ecdsa-sha2-nistp256, -384 and -521, ssh-rsa, sk-ssh-ed25519@openssh.com, sk-ecdsa-sha2-nistp256@openssh.com), or
/// the blob is not that of one such key from its first to its last byte.
std::optional<PublicKey> parse_key(std::string_view type, std::string_view base64);

/// Reads a file with one public key, as ssh-keygen writes it. Blank lines and lines with '#' are stepped over, the
/// key's comment is not taken. Throws Error{usage} with what to do instead for anything else: a private key,
/// another format, options before the key, several keys, a certificate. What is in the file is not shown. `path` is
/// for the error.
PublicKey parse_public_key_file(std::string_view bytes, const std::string& path);

/// The key's fingerprint as `ssh-keygen -l` prints it: "SHA256:" and 43 characters.
std::string fingerprint(const PublicKey& key);

}  // namespace crossover
