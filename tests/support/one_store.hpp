/// \file
/// One image store for every way into a cluster.
#pragma once

#include "engine/ports.hpp"

namespace crossover::test {

class OneStore final : public ImageStores {
 public:
  /// `store` has to outlive this object.
  explicit OneStore(ImageStore& store) : store_(store) {}
  ImageStore& open(const CephAccess& /*access*/) override { return store_; }

 private:
  ImageStore& store_;
};

}  // namespace crossover::test
