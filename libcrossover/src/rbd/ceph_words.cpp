#include "rbd/ceph_words.hpp"

#include <cerrno>
#include <cstddef>

#include "crossover/error.hpp"

namespace crossover::rbd {

PartedWords configure_with(rados_t cluster, const std::vector<std::string>& words) {
  std::vector<const char*> given;
  for (const std::string& word : words) given.push_back(word.c_str());
  std::vector<const char*> left(given.size(), nullptr);
  const int result =
      rados_conf_parse_argv_remainder(cluster, static_cast<int>(given.size()), given.data(), left.data());
  if (result < 0) {
    throw Error(ErrorCode::usage, "read options of Ceph", {},
                "the value of one of them is missing or makes no sense", false, EINVAL);
  }
  // What is left is the same pointers, in their order.
  PartedWords parted;
  auto next = left.begin();
  for (std::size_t index = 0; index < given.size(); ++index) {
    const bool is_left = next != left.end() && *next == given[index];
    if (is_left) ++next;
    (is_left ? parted.rest : parted.taken).push_back(words[index]);
  }
  return parted;
}

}  // namespace crossover::rbd
