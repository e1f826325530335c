#include "run.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>

#include "crossover/error.hpp"

namespace crossover::python {

namespace py = pybind11;

namespace {

/// How long a signal or a stop may wait to be seen.
constexpr std::chrono::milliseconds look_interval{100};

/// What the work has for Python: an event, or a question with its answer.
struct Matter {
  const Event* event = nullptr;
  const std::function<bool()>* question = nullptr;
  std::optional<bool> answer;
};

/// Hands matters from the threads that work to the one that waits, one at a time: the work goes on when its matter
/// has been dealt with, so that a slow listener slows the work and nothing piles up.
class Meeting final : public CallingThread {
 public:
  void on_event(const Event& event) override {
    Matter matter{.event = &event};
    hand_over(matter);
  }

  bool ask(const std::function<bool()>& question) override {
    Matter matter{.question = &question};
    hand_over(matter);
    if (!matter.answer) throw Cancelled{};
    return *matter.answer;
  }

  /// The work has ended; from the thread that works, last.
  void end() {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  /// Waits for a matter or the end; neither if it took too long. The matter stays valid until it is dealt with.
  std::pair<Matter*, bool> wait() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, look_interval, [this] { return matter_ != nullptr || ended_; });
    return {matter_, ended_};
  }

  void dealt_with() {
    const std::scoped_lock lock(mutex_);
    matter_ = nullptr;
    changed_.notify_all();
  }

 private:
  void hand_over(Matter& matter) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return matter_ == nullptr; });
    matter_ = &matter;
    changed_.notify_all();
    changed_.wait(lock, [&] { return matter_ != &matter; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  Matter* matter_ = nullptr;
  bool ended_ = false;
};

/// Signals are for the threads Python knows. The library's threads inherit the mask; programs it starts do not.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

bool is_yes(const py::object& answer) {
  if (!py::isinstance<py::bool_>(answer)) {
    throw py::type_error(fmt::format("confirm has to return bool, not {}",
                                     py::type::of(answer).attr("__name__").cast<std::string>()));
  }
  return answer.ptr() == Py_True;
}

void run_interruptibly(const std::function<void(CallingThread&, std::stop_token)>& work, const py::object& on_event,
                       const py::object& stop) {
  Meeting meeting;
  std::exception_ptr ours;     // from Python
  std::exception_ptr of_work;  // from the library
  bool listening = !on_event.is_none();
  bool asked_to_stop = false;

  const auto start = [&] {
    const SignalsBlocked blocked;
    return std::jthread([&](std::stop_token token) {
      try {
        work(meeting, std::move(token));
      } catch (...) {
        of_work = std::current_exception();
      }
      meeting.end();
    });
  };
  std::jthread worker = start();

  // Nothing may leave this loop before the work has ended: it uses what is on this stack.
  const auto guarded = [&](const auto& call) {
    try {
      call();
      return true;
    } catch (...) {
      if (!ours) ours = std::current_exception();
      worker.request_stop();
      return false;
    }
  };
  const auto look = [&] {
    guarded([] {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    });
    if (!asked_to_stop && !stop.is_none()) {
      const bool asked = guarded([&] { asked_to_stop = py::bool_(stop.attr("is_set")()); });
      asked_to_stop = asked_to_stop || !asked;
      if (asked_to_stop) worker.request_stop();
    }
  };
  const auto stopping = [&] { return ours != nullptr || asked_to_stop; };
  for (bool ended = false; !ended;) {
    Matter* matter = nullptr;
    std::optional<bool> answer;
    {
      const py::gil_scoped_release release;
      std::tie(matter, ended) = meeting.wait();
    }
    if (matter != nullptr && matter->event != nullptr && listening) {
      listening = guarded([&] { on_event(*matter->event); });
    }
    // Whoever wants to stop wants no question, and no answer of theirs from before to count.
    look();
    if (matter != nullptr && matter->question != nullptr && !stopping()) {
      guarded([&] { answer = (*matter->question)(); });
      look();
    }
    if (matter != nullptr) {
      if (!stopping()) matter->answer = answer;
      meeting.dealt_with();
    }
  }
  {
    const py::gil_scoped_release release;
    worker.join();
  }
  if (ours) std::rethrow_exception(ours);
  if (of_work) std::rethrow_exception(of_work);
}

}  // namespace crossover::python
