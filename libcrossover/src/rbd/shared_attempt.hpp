/// \file
/// Something that takes long to make and that several ask for.
#pragma once

#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <utility>

namespace crossover::rbd {

/// Makes a T when it is first asked for, and keeps it. Whoever asks while it is being made waits, and has what
/// comes of that: the T, or what making it threw. Whoever asks after it failed makes another attempt. Thread-safe.
template <typename T>
class SharedAttempt {
 public:
  /// `make` returns a std::shared_ptr<T> and may ask for nothing of this object.
  template <typename Make>
  std::shared_ptr<T> get(const Make& make) {
    std::promise<std::shared_ptr<T>> mine;
    std::shared_future<std::shared_ptr<T>> attempt;
    bool makes = false;
    {
      const std::lock_guard lock(mutex_);
      makes = !attempt_.valid();
      if (makes) attempt_ = mine.get_future().share();
      attempt = attempt_;
    }
    if (makes) {
      try {
        mine.set_value(make());
      } catch (...) {
        {
          const std::lock_guard lock(mutex_);
          attempt_ = {};
        }
        mine.set_exception(std::current_exception());
      }
    }
    return attempt.get();
  }

 private:
  std::mutex mutex_;
  std::shared_future<std::shared_ptr<T>> attempt_;
};

}  // namespace crossover::rbd
