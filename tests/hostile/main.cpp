// Sequences of requests to an agent that is restricted to receiving, as somebody sends them who has broken into the
// source: as an honest run does, with anything changed, left out, repeated, in another order, cut, or side by side.
// Whatever they are, what is not the client's stays as it is, and so does every recovery point that was complete.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <map>

#include "sequence.hpp"

namespace crossover::test {

namespace {

/// The most that this process had resident, in MiB.
std::uint64_t peak_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) / 1024;
  }
  return 0;
}

class Run {
 public:
  std::uint64_t sequences = 1500;
  std::uint64_t seed = 1;
  std::uint64_t per_stage = 20;
  std::uint64_t least_percent = 20;
  std::uint64_t most_mib = 512;
  bool goes_on = false;
  bool verbose = false;

  int run() {
    const auto begin = std::chrono::steady_clock::now();
    std::uint64_t done = 0;
    for (std::uint64_t stage_seed = seed; done < sequences && (wrong_.empty() || goes_on); ++stage_seed) {
      const std::uint64_t count = std::min(per_stage, sequences - done);
      play(stage_seed, count);
      done += count;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    for (const auto& [text, count] : wrong_) std::cout << fmt::format("WRONG {} times: {}\n", count, text);
    std::cout << fmt::format(
        "{} sequences ({:.0f} a second), {} requests, {} of them refused; {} points committed in {} sequences, "
        "{} of them after changes; {} by honest runs; {} replicas recovered; {} MiB; seed {}\n",
        done, static_cast<double>(done) / took.count(), tally_.requests, tally_.refused, commits_, committing_,
        after_changes_, honest_, recoveries_, peak_mib(), seed);
    // Of what is refused at the door nothing is learned.
    const bool is_strong = committing_ * 100 >= done * least_percent;
    if (!is_strong) std::cout << fmt::format("fewer than {} % of the sequences made a point\n", least_percent);
    const bool is_small = peak_mib() <= most_mib;
    if (!is_small) std::cout << fmt::format("more than {} MiB were taken\n", most_mib);
    return wrong_.empty() && is_strong && is_small ? 0 : 1;
  }

 private:
  void play(std::uint64_t stage_seed, std::uint64_t count) {
    Stage stage(stage_seed);
    std::vector<std::string> told;
    for (std::uint64_t number = 0; number < count; ++number) {
      const Course course = run_sequence(stage, tally_);
      commits_ += static_cast<std::uint64_t>(course.commits);
      after_changes_ += static_cast<std::uint64_t>(course.after_changes);
      if (course.commits > 0) ++committing_;
      if (verbose) {
        for (const std::string& line : course.told) std::cout << line << "\n";
      }
      if (!course.wrong.empty()) return blame(stage_seed, number, course.wrong, course.told);
      told = course.told;
    }
    honest_ += static_cast<std::uint64_t>(stage.honest_points);
    if (const std::string wrong = stage.recover_all(); !wrong.empty()) blame(stage_seed, count, wrong, told);
    recoveries_ += static_cast<std::uint64_t>(stage.recoveries);
  }

  void blame(std::uint64_t stage_seed, std::uint64_t number, const std::string& wrong,
             const std::vector<std::string>& told) {
    if (wrong_.size() < 20 && wrong_[wrong]++ == 0) {
      std::cout << fmt::format("stage {}, sequence {}: {}\n", stage_seed, number, wrong);
      for (const std::string& line : told) std::cout << "  " << line << "\n";
    }
  }

  Tally tally_;
  std::map<std::string, std::uint64_t> wrong_;
  std::uint64_t commits_ = 0;
  std::uint64_t committing_ = 0;
  std::uint64_t after_changes_ = 0;
  std::uint64_t honest_ = 0;
  std::uint64_t recoveries_ = 0;
};

}  // namespace

}  // namespace crossover::test

int main(int argc, char** argv) {
  crossover::test::Run run;
  CLI::App app("Sequences of requests to an agent that is restricted to receiving, by seed");
  app.add_option("--sequences", run.sequences, "how many");
  app.add_option("--seed", run.seed, "of the first stage; each next one has the next");
  app.add_option("--per-stage", run.per_stage, "sequences on one stage")->check(CLI::PositiveNumber);
  app.add_option("--least-percent", run.least_percent, "of the sequences that have to make a point");
  app.add_option("--most-mib", run.most_mib, "that this process may have resident");
  app.add_flag("--go-on", run.goes_on, "after something was wrong, too");
  app.add_flag("--verbose", run.verbose, "tell everything that is done");
  CLI11_PARSE(app, argc, argv);
  return run.run();
}
