#include "model/public_key.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "model/text.hpp"

namespace crossover {

namespace {

constexpr std::size_t max_file_bytes = std::size_t{64} << 10;
/// An RSA key of 16384 bits, the longest that OpenSSH takes, has 2.8 KiB.
constexpr std::size_t max_base64_bytes = std::size_t{4} << 10;

std::string encode_base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

/// Nothing unless the text is what encode_base64() makes of the bytes: OpenSSL steps over white space, and takes
/// bits that nothing stands in.
std::optional<std::string> decode_base64(std::string_view text) {
  if (text.empty() || text.size() > max_base64_bytes || text.size() % 4 != 0) return std::nullopt;
  std::string bytes(3 * (text.size() / 4), '\0');
  const int length =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  if (length < static_cast<int>(padding)) return std::nullopt;
  bytes.resize(static_cast<std::size_t>(length) - padding);
  return encode_base64(bytes) == text ? std::optional(std::move(bytes)) : std::nullopt;
}

/// Takes a blob apart: strings with their lengths before them, in four bytes.
class Blob {
 public:
  explicit Blob(std::string_view bytes) : rest_(bytes) {}

  std::optional<std::string_view> string() {
    if (rest_.size() < 4) return std::nullopt;
    std::size_t length = 0;
    for (const char byte : rest_.substr(0, 4)) length = length << 8 | static_cast<unsigned char>(byte);
    if (length > rest_.size() - 4) return std::nullopt;
    const std::string_view value = rest_.substr(4, length);
    rest_.remove_prefix(4 + length);
    return value;
  }

  bool is(std::string_view value) { return string() == value; }

  bool has(std::size_t bytes) {
    const auto value = string();
    return value && value->size() == bytes;
  }

  /// A point of a curve that is not compressed, which is all that OpenSSH takes.
  bool has_point(std::size_t coordinate_bytes) {
    const auto value = string();
    return value && value->size() == 1 + 2 * coordinate_bytes && value->front() == 4;
  }

  /// A positive number of so many bits.
  bool has_number(std::size_t min_bits, std::size_t max_bits) {
    const auto value = string();
    if (!value || value->empty()) return false;
    std::string_view digits = *value;
    if (digits.front() == 0) {
      digits.remove_prefix(1);
      if (digits.empty() || static_cast<unsigned char>(digits.front()) < 0x80) return false;
    } else if (static_cast<unsigned char>(digits.front()) >= 0x80) {
      return false;
    }
    std::size_t bits = 8 * digits.size();
    for (unsigned char mask = 0x80; (static_cast<unsigned char>(digits.front()) & mask) == 0; mask >>= 1) --bits;
    return bits >= min_bits && bits <= max_bits;
  }

  /// What a security key's key is made for: "ssh:", or "ssh:" and a name.
  bool has_application() {
    const auto value = string();
    return value && value->starts_with("ssh:");
  }

  [[nodiscard]] bool is_over() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

struct KeyType {
  std::string_view name;
  bool (*has_its_shape)(Blob& blob);
};

template <std::size_t bits>
bool is_ecdsa(Blob& blob) {
  return blob.is(fmt::format("nistp{}", bits)) && blob.has_point((bits + 7) / 8);
}

constexpr std::array<KeyType, 7> allowed_types{{
    {"ssh-ed25519", [](Blob& blob) { return blob.has(32); }},
    {"ecdsa-sha2-nistp256", is_ecdsa<256>},
    {"ecdsa-sha2-nistp384", is_ecdsa<384>},
    {"ecdsa-sha2-nistp521", is_ecdsa<521>},
    // OpenSSH refuses moduli of less than 1024 bits, and of more than 16384.
    {"ssh-rsa", [](Blob& blob) { return blob.has_number(2, 256) && blob.has_number(1024, 16384); }},
    {"sk-ssh-ed25519@openssh.com", [](Blob& blob) { return blob.has(32) && blob.has_application(); }},
    {"sk-ecdsa-sha2-nistp256@openssh.com",
     [](Blob& blob) { return is_ecdsa<256>(blob) && blob.has_application(); }},
}};

const KeyType* find_type(std::string_view name) {
  const auto* found = std::find_if(allowed_types.begin(), allowed_types.end(),
                                   [name](const KeyType& type) { return type.name == name; });
  return found == allowed_types.end() ? nullptr : found;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (;;) {
    line = text::trim(line);
    if (line.empty()) return words;
    const auto end = std::find_if(line.begin(), line.end(), text::is_space);
    words.push_back(line.substr(0, static_cast<std::size_t>(end - line.begin())));
    line.remove_prefix(words.back().size());
  }
}

}  // namespace

bool is_key_type(std::string_view word) noexcept {
  // Certificates, and what OpenSSH does not take any more, or not yet.
  return find_type(word) != nullptr || word == "ssh-dss" || word.starts_with("ssh-xmss@") ||
         word.starts_with("webauthn-sk-ecdsa-sha2-") || word.ends_with("-cert-v01@openssh.com");
}

std::optional<PublicKey> parse_key(std::string_view type, std::string_view base64) {
  const KeyType* known = find_type(type);
  if (known == nullptr) return std::nullopt;
  const auto bytes = decode_base64(base64);
  if (!bytes) return std::nullopt;
  Blob blob(*bytes);
  if (!blob.is(type) || !known->has_its_shape(blob) || !blob.is_over()) return std::nullopt;
  return PublicKey{std::string(type), std::string(base64)};
}

PublicKey parse_public_key_file(std::string_view bytes, const std::string& path) {
  const auto refuse = [&path](std::string why) {
    return Error(ErrorCode::usage, "read public key", path, std::move(why));
  };
  // Before anything else is said of the file.
  if (bytes.find("PRIVATE KEY") != std::string_view::npos || bytes.starts_with("PuTTY-User-Key-File")) {
    throw refuse("this is a private key, which stays where it is used; give the file beside it that ends in .pub");
  }
  if (bytes.size() > max_file_bytes) throw refuse("it is too long for a file with one public key");
  if (bytes.find("---- BEGIN") != std::string_view::npos || bytes.find("-----BEGIN") != std::string_view::npos) {
    throw refuse("it is not in OpenSSH's format; 'ssh-keygen -i -f FILE' (-m PKCS8 for PEM) prints it in that");
  }
  std::optional<PublicKey> key;
  for (const std::string_view part : text::split(bytes, '\n')) {
    const std::string_view line = text::trim(part);
    if (line.empty() || line.front() == '#') continue;
    const std::vector<std::string_view> words = words_of(line);
    if (key) throw refuse("it has more than one key; give a file with the one key of this source");
    if (find_type(words.front()) == nullptr) {
      if (is_key_type(words.front())) {
        throw refuse("the key's type is not taken; make one with 'ssh-keygen -t ed25519'");
      }
      if (std::any_of(words.begin() + 1, words.end(), is_key_type)) {
        throw refuse(
            "there are options before the key; give the type and the key alone, the options are written here");
      }
      throw refuse(
          "there is no public key in it; 'ssh-keygen -t ed25519' makes one, in the file that ends in .pub");
    }
    key = parse_key(words.front(), words.size() > 1 ? words[1] : std::string_view());
    if (!key) {
      throw refuse("what follows the type is no key of that type, or not all of it; copy the .pub file once more");
    }
  }
  if (!key) throw refuse("there is no public key in it");
  return *key;
}

std::string fingerprint(const PublicKey& key) {
  const std::string bytes = decode_base64(key.base64).value_or(std::string());
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
  unsigned int length = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), hash.data(), &length, EVP_sha256(), nullptr) != 1) {
    throw Error(ErrorCode::io, "hash", "public key", "OpenSSL has no SHA-256");
  }
  std::string text = encode_base64({reinterpret_cast<const char*>(hash.data()), length});
  text.erase(text.find_last_not_of('=') + 1);
  return "SHA256:" + text;
}

}  // namespace crossover
