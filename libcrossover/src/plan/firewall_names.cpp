#include "plan/firewall_names.hpp"

#include <algorithm>
#include <cctype>
#include <vector>

namespace crossover {

namespace {

enum class Section { other, rules, aliases, ipset };

/// PVE makes them itself.
const std::set<std::string, std::less<>> built_in_ipsets{"management"};
const std::set<std::string, std::less<>> built_in_aliases{"local_network"};

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::vector<std::string> words_of(std::string_view line) {
  constexpr std::string_view blanks = " \t\r";
  std::vector<std::string> words;
  for (std::size_t begin = line.find_first_not_of(blanks); begin != std::string_view::npos;) {
    const std::size_t end = std::min(line.find_first_of(blanks, begin), line.size());
    words.emplace_back(line.substr(begin, end - begin));
    begin = line.find_first_not_of(blanks, end);
  }
  return words;
}

bool is_alias(std::string_view text) {
  if (text.empty() || std::isalpha(static_cast<unsigned char>(text.front())) == 0) return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_';
  });
}

/// Goes through a file; `Reader` has section(), which is told the section's name, and line().
template <typename Reader>
void read(std::string_view file, Reader&& reader) {
  for (std::size_t begin = 0; begin < file.size();) {
    const std::size_t end = std::min(file.find('\n', begin), file.size());
    const std::string_view line = file.substr(begin, end - begin);
    begin = end + 1;
    const std::vector<std::string> words = words_of(line.substr(0, line.find('#')));
    if (words.empty()) continue;
    if (words[0].front() != '[') {
      reader.line(words);
      continue;
    }
    std::string header;
    for (const std::string& word : words) header += (header.empty() ? "" : " ") + word;
    const std::size_t close = header.find(']');
    reader.section(words_of(lower(std::string_view(header).substr(1, close == std::string::npos ? close : close - 1))));
  }
}

struct Definitions {
  void section(const std::vector<std::string>& words) {
    in_aliases = words.size() == 1 && words[0] == "aliases";
    if (words.size() != 2) return;
    if (words[0] == "ipset") names.ipsets.insert(words[1]);
    if (words[0] == "group") names.groups.insert(words[1]);
  }
  void line(const std::vector<std::string>& words) {
    if (in_aliases && words.size() >= 2) names.aliases.insert(lower(words[0]));
  }

  FirewallNames names;
  bool in_aliases = false;
};

class References {
 public:
  References(const FirewallNames& own, const FirewallNames& cluster) : own_(own), cluster_(cluster) {}

  void section(const std::vector<std::string>& words) {
    section_ = words.empty()           ? Section::other
               : words[0] == "rules"   ? Section::rules
               : words[0] == "aliases" ? Section::aliases
               : words[0] == "ipset"   ? Section::ipset
                                       : Section::other;
  }

  void line(const std::vector<std::string>& words) {
    if (section_ == Section::ipset) return address(words[0] == "!" && words.size() > 1 ? words[1] : words[0]);
    if (section_ != Section::rules) return;
    const std::string action = lower(words[0]);
    if ((action == "group" || action == "|group") && words.size() > 1) group(lower(words[1]));
    for (std::size_t i = 1; i + 1 < words.size(); ++i) {
      if (words[i] != "-source" && words[i] != "-dest" && words[i] != "--source" && words[i] != "--dest") continue;
      for (std::size_t begin = 0; begin < words[i + 1].size();) {
        const std::size_t end = std::min(words[i + 1].find(',', begin), words[i + 1].size());
        address(words[i + 1].substr(begin, end - begin));
        begin = end + 1;
      }
    }
  }

  [[nodiscard]] FirewallNames missing() const { return missing_; }

 private:
  void group(const std::string& name) {
    if (!cluster_.groups.contains(name)) missing_.groups.insert(name);
  }

  void address(std::string text) {
    if (text.starts_with('!')) text.erase(0, 1);
    const bool is_ipset = text.starts_with('+');
    if (is_ipset) text.erase(0, 1);
    text = lower(text);
    const bool is_clusters = text.starts_with("dc/");
    if (is_clusters) text.erase(0, 3);
    // Another scope's, such as `guest/` and `sdn/`, or an address.
    if (!is_alias(text)) return;
    const auto& own = is_ipset ? own_.ipsets : own_.aliases;
    const auto& cluster = is_ipset ? cluster_.ipsets : cluster_.aliases;
    const auto& built_in = is_ipset ? built_in_ipsets : built_in_aliases;
    if (cluster.contains(text) || built_in.contains(text) || (!is_clusters && own.contains(text))) return;
    (is_ipset ? missing_.ipsets : missing_.aliases).insert(text);
  }

  const FirewallNames& own_;
  const FirewallNames& cluster_;
  FirewallNames missing_;
  Section section_ = Section::other;
};

}  // namespace

FirewallNames defined_firewall_names(std::string_view file) {
  Definitions definitions;
  read(file, definitions);
  return definitions.names;
}

FirewallNames missing_firewall_names(std::string_view guest_file, const FirewallNames& cluster) {
  const FirewallNames own = defined_firewall_names(guest_file);
  References references(own, cluster);
  read(guest_file, references);
  return references.missing();
}

}  // namespace crossover
