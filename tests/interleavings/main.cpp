// Two commands on one guest at once: the first stands still at each of its calls in turn, the second runs whole, and the
// first goes on. Afterwards each runs once more. What must never happen does not, whichever two they are.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <map>
#include <random>

#include "commands.hpp"

namespace crossover::test {

namespace {

/// What becomes of the first one's lease while it stands still. When it runs out, Ceph takes the process for dead, too:
/// others get the images that it held, and it none of them.
enum class LeaseOf { kept, run_out };

struct Meeting {
  Done first;
  Done second;
  std::vector<std::string> wrong;
  std::string stopped_at;  ///< empty: it has no call of that number
};

std::string_view name_of(Done::How how) {
  switch (how) {
    case Done::How::ok:
      return "ok";
    case Done::How::conflict:
      return "conflict";
    case Done::How::locked:
      return "locked";
    case Done::How::failed:
      return "failed";
    case Done::How::threw:
      return "threw";
  }
  return "";
}

/// All of the first one's threads stand still while the second runs: each of its calls waits for the same mutex.
Meeting meet(Begin begin, const Command& first, const Command& second, std::size_t stop, LeaseOf lease) {
  World world(begin);
  Meeting met;
  Faults calls_of_second;
  std::recursive_mutex standing;
  std::size_t call_number = 0;
  world.clusters.faults.arm();
  world.clusters.faults.at = [&](const std::string& call) {
    const std::scoped_lock lock(standing);
    if (call_number++ != stop) return;
    met.stopped_at = call;
    if (lease == LeaseOf::run_out) {
      world.clusters.leases.run_out();
      world.clusters.source_images.break_holds();
      world.clusters.replica_images.break_holds();
    }
    world.clusters.calls = &calls_of_second;
    met.second = second.run(world);
    world.clusters.calls = &world.clusters.faults;
    if (lease == LeaseOf::run_out) world.clusters.leases.tell_lost();
  };
  met.first = first.run(world);
  world.clusters.faults.at = nullptr;
  if (met.stopped_at.empty()) return met;
  const bool removes = first.removes || second.removes;
  const bool reseeds = first.reseeds || second.reseeds;
  met.wrong = world.wrong(removes, reseeds);
  // One more run of either ends well, or in what has a name.
  for (const Command* again : {&first, &second}) {
    world.clusters.faults.arm();
    const Done done = again->run(world);
    if (done.how == Done::How::failed || done.how == Done::How::threw) {
      met.wrong.push_back(fmt::format("'{}' once more: {}: {}", again->name, name_of(done.how), done.error));
    }
  }
  for (const std::string& wrong : world.wrong(removes, reseeds)) {
    met.wrong.push_back("after one more run of each: " + wrong);
  }
  if (world.running() == 0 && !world.is_recovered()) {
    met.wrong.emplace_back("after one more run of each it runs nowhere, and can be started nowhere");
  }
  return met;
}

struct Explorer {
  double share = 1;
  std::uint32_t seed = 1;
  std::string only_first;
  std::string only_second;
  bool verbose = false;
  std::size_t pairs = 0;
  std::size_t stops = 0;
  std::size_t runs = 0;
  std::map<std::string, std::size_t> seen;  ///< how the commands ended
  std::map<std::string, std::size_t> wrong;
  std::mt19937 random{};

  void pair(Begin begin, const Command& first, const Command& second) {
    ++pairs;
    for (const LeaseOf lease : {LeaseOf::kept, LeaseOf::run_out}) {
      for (std::size_t stop = 0;; ++stop) {
        // By seed, but in order: where a command ends is found out by going past it.
        const bool is_tried = share >= 1 || random() < share * static_cast<double>(std::mt19937::max());
        if (!is_tried && stop < 400) continue;
        const Meeting met = meet(begin, first, second, stop, lease);
        if (met.stopped_at.empty()) break;
        ++runs;
        if (lease == LeaseOf::kept) ++stops;
        ++seen[fmt::format("{} / {}", name_of(met.first.how), name_of(met.second.how))];
        for (const std::string& text : met.wrong) {
          ++wrong[fmt::format("{} | {} | {}", first.name, second.name, text)];
          if (!verbose) continue;
          std::cout << fmt::format("{} stopped at {} ({}), lease {}; {}: {} ({}) / {} ({}): {}\n", first.name, stop,
                                   met.stopped_at, lease == LeaseOf::kept ? "kept" : "run out", second.name,
                                   name_of(met.first.how), met.first.error, name_of(met.second.how),
                                   met.second.error, text);
        }
      }
    }
  }

  int run() {
    random.seed(seed);
    const std::vector<Command> all = commands();
    for (const Command& first : all) {
      for (const Command& second : all) {
        if (!only_first.empty() && only_first != first.name) continue;
        if (!only_second.empty() && only_second != second.name) continue;
        for (const Begin begin : first.begins) {
          const auto& begins = second.begins;
          if (std::find(begins.begin(), begins.end(), begin) != begins.end()) pair(begin, first, second);
        }
      }
    }
    for (const auto& [text, count] : wrong) std::cout << fmt::format("WRONG {} times: {}\n", count, text);
    for (const auto& [text, count] : seen) std::cout << fmt::format("{}: {}\n", text, count);
    std::cout << fmt::format("{} pairs, {} stops, {} runs, {} wrong\n", pairs, stops, runs, wrong.size());
    if (runs == 0) std::cout << "nothing was tried: no two commands of these names meet\n";
    return wrong.empty() && runs > 0 ? 0 : 1;
  }
};

}  // namespace

}  // namespace crossover::test

int main(int argc, char** argv) {
  crossover::test::Explorer explorer;
  CLI::App app("Two commands on one guest at once, at each call of the first");
  app.add_option("--share", explorer.share, "of the stops that are tried, chosen by --seed; 1: all of them")
      ->check(CLI::Range(0.001, 1.0));
  app.add_option("--seed", explorer.seed, "which ones");
  app.add_option("--first", explorer.only_first, "only this command as the first");
  app.add_option("--second", explorer.only_second, "and only this one as the second");
  app.add_flag("--verbose", explorer.verbose, "tell each run that went wrong");
  CLI11_PARSE(app, argc, argv);
  return explorer.run();
}
