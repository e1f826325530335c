/// \file
/// The stock `rbd` command on a throw-away cluster.
#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "contract/ceph_harness.hpp"
#include "rbd/rbd_command_line.hpp"
#include "ssh/local_shell.hpp"

namespace crossover::test {

/// The stock command on the test's cluster.
class StockRbd {
 public:
  explicit StockRbd(LabCluster& cluster) : access_(cluster.access()) {}

  CommandResult run(const ImageSpec& image, const std::vector<std::string>& words, std::string_view input = {}) {
    std::vector<std::string> argv = rbd::rbd_command(access_, image);
    argv.insert(argv.end(), words.begin(), words.end());
    return shell_.run(argv, input, std::chrono::minutes(2), {});
  }

  /// How many bytes it prints.
  std::string count(const ImageSpec& image, const std::vector<std::string>& words) {
    std::vector<std::string> argv{"sh", "-c", R"("$@" | wc -c | tr -d '\n')", "sh"};
    for (const std::string& word : rbd::rbd_command(access_, image)) argv.push_back(word);
    argv.insert(argv.end(), words.begin(), words.end());
    return shell_.run(argv, {}, std::chrono::minutes(2), {}).output;
  }

  std::string must(const ImageSpec& image, const std::vector<std::string>& words, std::string_view input = {}) {
    CommandResult result = run(image, words, input);
    CAPTURE(result.errors);
    REQUIRE(result.exit_status == 0);
    return std::move(result.output);
  }

 private:
  CephAccess access_;
  LocalShell shell_;
};

}  // namespace crossover::test
