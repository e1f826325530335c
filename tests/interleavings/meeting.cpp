#include "meeting.hpp"

#include <fmt/format.h>

#include <functional>
#include <mutex>
#include <semaphore>
#include <thread>
#include <utility>

namespace crossover::test {

namespace {

using Meanwhile = std::function<void(const std::string& call)>;

/// Where a command stands still, and what happens meanwhile.
struct Stop {
  std::size_t call = 0;
  Meanwhile meanwhile;
  std::size_t told_after = 0;
};

/// Runs a command. All of its threads stand still while one does, for each call waits for the same mutex.
Done run(World& world, const Command& command, Faults& calls, const Stop& stop = {}) {
  std::mutex standing;
  std::size_t number = 0;
  if (stop.meanwhile) {
    calls.at = [&](const std::string& call) {
      const std::scoped_lock lock(standing);
      if (number == stop.call) {
        const World::Scene scene = world.scene();
        stop.meanwhile(call);
        world.set(scene);
      }
      if (number++ == stop.call + stop.told_after) world.clusters.leases.tell_lost();
    };
  }
  world.clusters.calls = &calls;
  Done done = command.run(world);
  calls.at = nullptr;
  return done;
}

class Encounter {
 public:
  explicit Encounter(const Course& course) : course_(course), world_(course.begin) {}

  Meeting meet() {
    if (course_.of_first) calls_of_first_.arm(course_.of_first->call, course_.of_first->fault);
    if (course_.of_second) calls_of_second_.arm(course_.of_second->call, course_.of_second->fault);
    if (course_.standing == Standing::is_killed) {
      calls_of_first_.arm(course_.stop, Fault::dies);
      met_.first = run(world_, *course_.first, calls_of_first_);
      if (calls_of_first_.happened()) {
        met_.stopped_at = calls_of_first_.calls().back();
        run_second();
      }
    } else {
      const auto meanwhile = [this](const std::string& call) {
        met_.stopped_at = call;
        stand_still();
        course_.stop_of_second && course_.third == nullptr ? begin_second() : run_second();
      };
      met_.first = run(world_, *course_.first, calls_of_first_, {course_.stop, meanwhile, course_.told_after});
      second_goes_.release();
      if (beside_.joinable()) beside_.join();
    }
    if (met_.stopped_at.empty()) return std::move(met_);
    met_.troubled = (!course_.of_first || calls_of_first_.happened()) &&
                    (!course_.of_second || calls_of_second_.happened());
    judge();
    return std::move(met_);
  }

 private:
  /// Whoever does loses what it holds, if that is the course. The other one that stands still has lost it before.
  void stand_still() {
    if (course_.standing != Standing::loses_lease) return;
    world_.clusters.leases.run_out();
    world_.clusters.source_images.break_holds();
    world_.clusters.replica_images.break_holds();
  }

  /// To its end, with the third one in its middle, if there is one.
  void run_second() {
    Stop stop;
    if (course_.stop_of_second) {
      stop.call = *course_.stop_of_second;
      stop.meanwhile = [this](const std::string& call) {
        met_.second_stopped_at = call;
        stand_still();
        Faults calls;
        met_.third = run(world_, *course_.third, calls);
      };
    }
    met_.second = run(world_, *course_.second, calls_of_second_, stop);
  }

  /// To its stop, where it stands still until the first one has ended.
  void begin_second() {
    beside_ = std::jthread([this] {
      const auto meanwhile = [this](const std::string& call) {
        met_.second_stopped_at = call;
        stand_still();
        first_goes_.release();
        second_goes_.acquire();
      };
      met_.second = run(world_, *course_.second, calls_of_second_, {*course_.stop_of_second, meanwhile});
      first_goes_.release();
    });
    first_goes_.acquire();
  }

  void judge() {
    std::vector<const Command*> all{course_.first, course_.second};
    if (course_.third != nullptr) all.push_back(course_.third);
    bool removes = false;
    bool reseeds = false;
    bool recovers = false;
    for (const Command* command : all) {
      removes = removes || command->removes;
      reseeds = reseeds || command->reseeds;
      recovers = recovers || command->recovers;
    }
    std::vector<std::string>& wrong = met_.wrong;
    wrong = world_.wrong(removes, reseeds, false);
    // Whoever loses its lease between its last look and the act may take down a guest that another one brought back: a
    // lease that ran out keeps nobody from what is under way. Then it says so.
    const bool is_told = met_.first.error.find("to do: ") != std::string::npos ||
                         met_.second.error.find("to do: ") != std::string::npos;
    if (!world_.can_be_had() && !world_.is_under_way() && !is_told) {
      wrong.emplace_back("it runs nowhere and can be started nowhere, and nobody says that it is on its way");
    }
    // One more run of each ends well, or in what has a name.
    for (const Command* again : all) {
      Faults calls;
      const Done done = run(world_, *again, calls);
      if (done.how == Done::How::failed || done.how == Done::How::threw) {
        wrong.push_back(fmt::format("'{}' once more: {}: {}", again->name, to_string(done.how), done.error));
      }
    }
    for (const std::string& text : world_.wrong(removes, reseeds, recovers)) {
      wrong.push_back("after one more run of each: " + text);
    }
    if (!world_.can_be_had()) {
      wrong.emplace_back("after one more run of each it runs nowhere, and can be started nowhere");
    }
  }

  const Course& course_;
  World world_;
  Meeting met_;
  Faults calls_of_first_;
  Faults calls_of_second_;
  std::binary_semaphore first_goes_{0};
  std::binary_semaphore second_goes_{0};
  std::jthread beside_;
};

}  // namespace

std::string_view to_string(Standing standing) {
  switch (standing) {
    case Standing::keeps_lease:
      return "keeps its lease";
    case Standing::loses_lease:
      return "loses its lease";
    case Standing::is_killed:
      return "is killed";
  }
  return "";
}

Meeting meet(const Course& course) {
  return Encounter(course).meet();
}

std::size_t calls_of(Begin begin, const Command& command) {
  World world(begin);
  Faults calls;
  (void)run(world, command, calls);
  return calls.calls().size();
}

}  // namespace crossover::test
