#include "ssh/known_hosts.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "crossover/error.hpp"
#include "ssh/unique_fd.hpp"

namespace crossover {
namespace {

// The algorithms a host can prove a key of this type with, best first.
std::string algorithms_of(ssh_key key) {
  if (ssh_key_type(key) == SSH_KEYTYPE_RSA) return "rsa-sha2-512,rsa-sha2-256";
  return ssh_key_type_to_char(ssh_key_type(key));
}

}  // namespace

std::string describe_key(ssh_key key) {
  unsigned char* hash = nullptr;
  std::size_t size = 0;
  std::string text = ssh_key_type_to_char(ssh_key_type(key));
  if (ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &size) != 0) return text;
  if (char* print = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, size)) {
    text += std::string(" ") + print;
    ssh_string_free_char(print);
  }
  ssh_clean_pubkey_hash(&hash);
  return text;
}

KnownHosts::KnownHosts(const std::string& name, unsigned port) {
  if (port != 22) names_.push_back("[" + name + "]:" + std::to_string(port));
  names_.push_back(name);
}

bool KnownHosts::empty() const noexcept {
  return std::none_of(keys_.begin(), keys_.end(), [](const Entry& entry) { return entry.decides; });
}

void KnownHosts::add_text(std::string_view text, const std::string& origin) {
  for (int number = 1; !text.empty(); ++number) {
    const auto end = text.find('\n');
    add_line(std::string(text.substr(0, end)), origin + " line " + std::to_string(number));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

void KnownHosts::add_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return;
  std::ostringstream text;
  text << file.rdbuf();
  add_text(text.str(), path);
}

void KnownHosts::add_line(std::string line, const std::string& origin) {
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\t' || c == '\r'; }, ' ');
  line.erase(0, line.find_first_not_of(' '));
  if (line.empty() || line.front() == '#') return;
  bool revoked = false;
  bool authority = false;
  if (line.front() == '@') {
    revoked = line.starts_with("@revoked ");
    authority = line.starts_with("@cert-authority ");
    if (!revoked && !authority) return;
    line.erase(0, line.find_first_not_of(' ', line.find(' ')));
  }
  for (const std::string& name : names_) {
    SshKey key = match(name, line);
    if (!key) continue;
    if (authority) {
      has_authority_ = true;
    } else {
      keys_.push_back({std::move(key), origin, revoked, name == names_.front()});
    }
    return;
  }
}

SshKey KnownHosts::match(const std::string& name, const std::string& line) {
  const auto matches = [&name](const std::string& entry_line) -> SshKey {
    ssh_knownhosts_entry* entry = nullptr;
    if (ssh_known_hosts_parse_line(name.c_str(), entry_line.c_str(), &entry) != SSH_OK) return nullptr;
    SshKey key(std::exchange(entry->publickey, nullptr));
    ssh_knownhosts_entry_free(entry);
    return key;
  };

  // libssh takes no notice of "!pattern", which takes hosts out of a line again.
  const auto end = line.find(' ');
  std::stringstream patterns(line.substr(0, end));
  for (std::string pattern; end != std::string::npos && std::getline(patterns, pattern, ',');) {
    if (pattern.starts_with('!') && matches(pattern.substr(1) + line.substr(end))) return nullptr;
  }
  return matches(line);
}

std::string KnownHosts::algorithms(std::string_view allowed) const {
  std::string known;
  for (const Entry& entry : keys_) {
    if (entry.decides && !entry.revoked) known += "," + algorithms_of(entry.key.get());
  }
  known += ",";
  // The others stay on offer, at the end: a host that has none of the known keys any more is then reported with the
  // key it shows instead of as one we have no algorithm in common with.
  std::string first;
  std::string last;
  while (!allowed.empty()) {
    const auto end = std::min(allowed.find(','), allowed.size());
    const std::string name(allowed.substr(0, end));
    allowed.remove_prefix(std::min(end + 1, allowed.size()));
    (known.find("," + name + ",") == std::string::npos ? last : first) += "," + name;
  }
  first += last;
  return first.empty() ? first : first.substr(1);
}

KnownHosts::Verdict KnownHosts::judge(ssh_key presented) const {
  Verdict verdict = Verdict::unknown;
  bool known_under_plain_name = false;
  for (const Entry& entry : keys_) {
    const bool same = ssh_key_cmp(entry.key.get(), presented, SSH_KEY_CMP_PUBLIC) == 0;
    if (entry.revoked) {
      if (same) return Verdict::revoked;
    } else if (!entry.decides) {
      known_under_plain_name = known_under_plain_name || same;
    } else if (same) {
      verdict = Verdict::known;
    } else if (verdict == Verdict::unknown) {
      verdict = Verdict::changed;
    }
  }
  return verdict == Verdict::unknown && known_under_plain_name ? Verdict::known : verdict;
}

std::string KnownHosts::describe() const {
  std::string text;
  for (const Entry& entry : keys_) {
    if (!text.empty()) text += ", ";
    text += describe_key(entry.key.get()) + " (" + entry.origin + (entry.revoked ? ", revoked)" : ")");
  }
  return text;
}

void KnownHosts::remember(ssh_key key, const std::string& path) const {
  const auto fail = [&](int error) { throw Error(ErrorCode::io, "add a host key to", path, std::strerror(error)); };
  char* base64 = nullptr;
  if (ssh_pki_export_pubkey_base64(key, &base64) != SSH_OK) fail(EINVAL);
  std::string line = names_.front() + " " + ssh_key_type_to_char(ssh_key_type(key)) + " " + base64 + "\n";
  ssh_string_free_char(base64);

  const auto slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) ::mkdir(path.substr(0, slash).c_str(), 0700);
  const UniqueFd file(::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
  if (!file) fail(errno);
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  char last = '\n';
  if (size > 0 && ::pread(file.get(), &last, 1, size - 1) == 1 && last != '\n') line.insert(0, "\n");
  // One write, so that lines of processes that do this at the same time do not mix.
  const ssize_t written = ::write(file.get(), line.data(), line.size());
  if (written != static_cast<ssize_t>(line.size())) fail(written < 0 ? errno : ENOSPC);
}

}  // namespace crossover
