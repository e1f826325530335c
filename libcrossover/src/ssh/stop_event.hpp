/// \file
/// A stop token as something poll() can wait for.
#pragma once

#include <stop_token>

#include "ssh/unique_fd.hpp"

namespace crossover {

/// Its descriptor becomes readable, for good, once `stop` is triggered. Any thread may trigger the token.
class StopEvent {
 public:
  /// Throws Error{io} if the process is out of descriptors.
  explicit StopEvent(std::stop_token stop);

  [[nodiscard]] int fd() const noexcept { return event_.get(); }
  [[nodiscard]] bool stopped() const noexcept { return stop_.stop_requested(); }
  /// Throws Cancelled once the token was triggered.
  void check() const;

 private:
  struct Wake {
    int fd;
    void operator()() const noexcept;
  };

  UniqueFd event_;
  std::stop_token stop_;
  std::stop_callback<Wake> callback_;  // last: it uses event_ until it is gone
};

}  // namespace crossover
