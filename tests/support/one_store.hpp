/// \file
/// One image store for every way into a cluster.
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>

#include "engine/ports.hpp"

namespace crossover::test {

class OneStore final : public ImageStores {
 public:
  /// `store` has to outlive this object.
  explicit OneStore(ImageStore& store) : store_(store) {}
  ImageStore& open(const CephAccess& /*access*/) override {
    std::this_thread::sleep_for(delay);
    return store_;
  }

  void set_transfer_memory(std::uint64_t bytes) override { transfer_memory = bytes; }

  std::chrono::milliseconds delay{0};  ///< of each opening
  std::uint64_t transfer_memory = 0;   ///< as it was told last

 private:
  ImageStore& store_;
};

}  // namespace crossover::test
