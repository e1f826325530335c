#include "run.hpp"

#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace crossover::python {

namespace py = pybind11;

namespace {

/// How long a signal or a stop may wait to be seen.
constexpr std::chrono::milliseconds look_interval{100};

/// Hands events from the thread that works to the one that waits, one at a time: the work goes on when the event
/// has been dealt with, so that a slow listener slows the work and nothing piles up.
class Meeting final : public EventSink {
 public:
  void on_event(const Event& event) override {
    std::unique_lock lock(mutex_);
    event_ = &event;
    changed_.notify_all();
    changed_.wait(lock, [this] { return event_ == nullptr; });
  }

  /// The work has ended; from the thread that works, last.
  void end() {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  /// Waits for an event or the end; neither if it took too long. The event stays valid until it is dealt with.
  std::pair<const Event*, bool> wait() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, look_interval, [this] { return event_ != nullptr || ended_; });
    return {event_, ended_};
  }

  void dealt_with() {
    const std::scoped_lock lock(mutex_);
    event_ = nullptr;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  const Event* event_ = nullptr;
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

void run_interruptibly(const std::function<void(EventSink&, std::stop_token)>& work, const py::object& on_event,
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
  for (bool ended = false; !ended;) {
    const Event* event = nullptr;
    {
      const py::gil_scoped_release release;
      std::tie(event, ended) = meeting.wait();
    }
    if (event != nullptr) {
      if (listening) listening = guarded([&] { on_event(*event); });
      meeting.dealt_with();
    }
    guarded([] {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    });
    if (!asked_to_stop && !stop.is_none()) {
      const bool asked = guarded([&] { asked_to_stop = py::bool_(stop.attr("is_set")()); });
      asked_to_stop = asked_to_stop || !asked;
      if (asked_to_stop) worker.request_stop();
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
