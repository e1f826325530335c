// Two commands on one guest at once: the first stands still at each of its calls in turn, the second runs whole, and
// the first goes on. By seed, one of them meets a fault as well, or the second stands still, too, while a third one
// runs or the first goes on. Afterwards each runs once more. What must never happen does not, whichever they are.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <map>
#include <random>
#include <utility>

#include "meeting.hpp"

namespace crossover::test {

namespace {

/// Two commands that can meet.
struct Pair {
  Begin begin;
  const Command* first;
  const Command* second;
};

bool makes_sense(const Command& command, Begin begin) {
  return std::find(command.begins.begin(), command.begins.end(), begin) != command.begins.end();
}

/// In one line.
std::string describe(const Course& course, const Meeting& met) {
  std::string text = fmt::format("{} at {} ({}) {}", course.first->name, course.stop, met.stopped_at,
                                 to_string(course.standing));
  if (course.told_after > 0) text += fmt::format(", told {} calls later", course.told_after);
  if (course.of_first) text += fmt::format(", at {} {}", course.of_first->call, to_string(course.of_first->fault));
  text += fmt::format("; {}", course.second->name);
  if (course.stop_of_second) text += fmt::format(" at {} ({})", *course.stop_of_second, met.second_stopped_at);
  if (course.of_second)
    text += fmt::format(", at {} {}", course.of_second->call, to_string(course.of_second->fault));
  if (course.third != nullptr) text += fmt::format("; {}", course.third->name);
  text += fmt::format(": {} ({}) / {} ({})", to_string(met.first.how), met.first.error, to_string(met.second.how),
                      met.second.error);
  if (met.third) text += fmt::format(" / {} ({})", to_string(met.third->how), met.third->error);
  return text;
}

class Explorer {
 public:
  double share = 1;
  std::size_t faults = 0;
  std::size_t preemptions = 0;
  std::uint32_t seed = 1;
  std::string only_first;
  std::string only_second;
  bool verbose = false;

  int run() {
    random_.seed(seed);
    for (const Command& first : all_) {
      for (const Command& second : all_) {
        if (!only_first.empty() && only_first != first.name) continue;
        if (!only_second.empty() && only_second != second.name) continue;
        for (const Begin begin : first.begins) {
          if (makes_sense(second, begin)) pairs_.push_back({begin, &first, &second});
        }
      }
    }
    for (const Pair& pair : pairs_) {
      if (share > 0) stop_at_each_call(pair);
    }
    const std::size_t with_faults = by_seed(faults, false);
    const std::size_t preempted = by_seed(preemptions, true);
    for (const auto& [text, count] : wrong_) std::cout << fmt::format("WRONG {} times: {}\n", count, text);
    for (const auto& [text, count] : seen_) std::cout << fmt::format("{}: {}\n", text, count);
    std::cout << fmt::format("{} pairs, {} stops, {} runs; {} runs with a fault, {} with two stops; {} wrong\n",
                             pairs_.size(), stops_, runs_, with_faults, preempted, wrong_.size());
    const bool all_tried = runs_ + with_faults + preempted > 0 && with_faults == faults && preempted == preemptions;
    if (!all_tried) std::cout << "not all of it was tried: too few commands of these names meet\n";
    return wrong_.empty() && all_tried ? 0 : 1;
  }

 private:
  void stop_at_each_call(const Pair& pair) {
    for (const Standing standing : {Standing::keeps_lease, Standing::loses_lease, Standing::is_killed}) {
      for (std::size_t stop = 0;; ++stop) {
        // By seed, but in order: where a command ends is found out by going past it.
        if (stop < 400 && !chance(share)) continue;
        const Course course{
            .begin = pair.begin, .first = pair.first, .second = pair.second, .stop = stop, .standing = standing};
        const Meeting met = meet(course);
        if (met.stopped_at.empty()) break;
        ++runs_;
        if (standing == Standing::keeps_lease) ++stops_;
        note(course, met);
      }
    }
  }

  /// That many runs in which all that was to happen did.
  std::size_t by_seed(std::size_t wanted, bool preempted) {
    std::size_t done = 0;
    for (std::size_t tries = 0; done < wanted && tries < 20 * wanted && !pairs_.empty(); ++tries) {
      const Course course = preempted ? with_two_stops() : with_fault();
      const Meeting met = meet(course);
      if (met.stopped_at.empty() || !met.troubled) continue;
      if (course.stop_of_second && met.second_stopped_at.empty()) continue;
      ++done;
      note(course, met);
    }
    return done;
  }

  Course course() {
    const Pair& pair = pairs_[below(pairs_.size())];
    Course course{.begin = pair.begin,
                  .first = pair.first,
                  .second = pair.second,
                  .stop = below(length(pair.begin, *pair.first)),
                  .standing = chance(0.5) ? Standing::keeps_lease : Standing::loses_lease};
    // As long as a renewal takes that finds the lease gone.
    if (course.standing == Standing::loses_lease && chance(0.5)) course.told_after = 1 + below(3);
    return course;
  }

  /// One of the two meets a fault.
  Course with_fault() {
    Course course = this->course();
    const std::size_t length_of_first = length(course.begin, *course.first);
    if (chance(0.5)) {
      course.of_first = Trouble{course.stop + 1 + below(length_of_first - course.stop), fault()};
    } else {
      course.of_second = Trouble{below(length(course.begin, *course.second)), fault()};
      if (chance(0.2)) course.standing = Standing::is_killed;
    }
    return course;
  }

  /// The second stands still as well, while a third one runs, or the first one. Now and then there is a fault, too.
  Course with_two_stops() {
    Course course = chance(0.25) ? with_fault() : this->course();
    course.stop_of_second = below(length(course.begin, *course.second));
    while (course.third == nullptr && (course.standing == Standing::is_killed || chance(0.5))) {
      const Command& third = all_[below(all_.size())];
      if (makes_sense(third, course.begin)) course.third = &third;
    }
    return course;
  }

  std::size_t length(Begin begin, const Command& command) {
    const auto [found, is_new] = lengths_.try_emplace({begin, &command}, 0);
    if (is_new) found->second = calls_of(begin, command);
    return found->second;
  }

  Fault fault() {
    constexpr Fault all[]{Fault::fails,   Fault::answer_lost, Fault::foreign,
                          Fault::cancels, Fault::dies,        Fault::dies_after};
    return all[below(std::size(all))];
  }

  std::size_t below(std::size_t end) { return random_() % end; }
  bool chance(double of_one) {
    return of_one >= 1 || random_() < of_one * static_cast<double>(std::mt19937::max());
  }

  void note(const Course& course, const Meeting& met) {
    ++seen_[fmt::format("{} / {}", to_string(met.first.how), to_string(met.second.how))];
    for (const std::string& text : met.wrong) {
      ++wrong_[fmt::format("{} | {} | {}", course.first->name, course.second->name, text)];
      if (verbose) std::cout << fmt::format("{}: {}\n", describe(course, met), text);
    }
  }

  const std::vector<Command> all_ = commands();
  std::vector<Pair> pairs_;
  std::map<std::pair<Begin, const Command*>, std::size_t> lengths_;
  std::size_t stops_ = 0;
  std::size_t runs_ = 0;
  std::map<std::string, std::size_t> seen_;  ///< how the commands ended
  std::map<std::string, std::size_t> wrong_;
  std::mt19937 random_;
};

}  // namespace

}  // namespace crossover::test

int main(int argc, char** argv) {
  crossover::test::Explorer explorer;
  CLI::App app("Commands on one guest at once: at each call of the first, and by seed with faults and two stops");
  app.add_option("--share", explorer.share, "of the stops that are tried, by --seed; 1: all of them, 0: none")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--faults", explorer.faults, "so many runs in which one of the two meets a fault, by --seed");
  app.add_option("--preemptions", explorer.preemptions,
                 "so many runs in which the second stands still, too, while a third one runs or the first goes on");
  app.add_option("--seed", explorer.seed, "which ones");
  app.add_option("--first", explorer.only_first, "only this command as the first");
  app.add_option("--second", explorer.only_second, "and only this one as the second");
  app.add_flag("--verbose", explorer.verbose, "tell each run that went wrong");
  CLI11_PARSE(app, argc, argv);
  return explorer.run();
}
