/// \file
/// What a store needs to be put through the contract of ImageStore.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/image_store.hpp"

namespace crossover::test {

/// One store, and what a guest or an administrator would do to its images behind its back.
class StoreHarness {
 public:
  virtual ~StoreHarness() = default;
  [[nodiscard]] virtual std::string name() const = 0;
  virtual ImageStore& store() = 0;
  /// The name of an image that does not exist.
  virtual ImageSpec new_image() = 0;

  virtual void write(const ImageSpec& image, std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual void zero(const ImageSpec& image, std::uint64_t offset, std::uint64_t length_bytes) = 0;
  virtual void discard(const ImageSpec& image, std::uint64_t offset, std::uint64_t length_bytes) = 0;
  virtual void resize(const ImageSpec& image, std::uint64_t size_bytes) = 0;
  virtual void protect(const ImageSpec& image, const std::string& snapshot, bool is_protected) = 0;
  /// How long the image of that id, which had that name, is kept in the trash; negative if it is not there.
  virtual std::chrono::seconds kept_in_trash(const ImageSpec& image, const std::string& id) = 0;
  /// All bytes of a snapshot, or of the head without one.
  virtual std::vector<std::byte> content(const ImageSpec& image, const std::string& snapshot) = 0;
};

/// Every store this run can test: the one in memory, and with CROSSOVER_TEST_CEPH (the directory of a throw-away
/// cluster) those of Ceph; CROSSOVER_TEST_COMMAND, the folder of the crossover command, adds the one behind its
/// agent.
const std::vector<std::unique_ptr<StoreHarness>>& harnesses();

}  // namespace crossover::test
