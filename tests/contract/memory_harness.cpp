#include "contract/memory_harness.hpp"

#include "support/memory_image_store.hpp"

namespace crossover::test {

namespace {

class MemoryHarness final : public StoreHarness {
 public:
  [[nodiscard]] std::string name() const override { return "memory"; }
  ImageStore& store() override { return store_; }
  ImageSpec new_image() override { return {"rbd", "", "image-" + std::to_string(++count_)}; }
  void write(const ImageSpec& image, std::uint64_t offset, std::span<const std::byte> bytes) override {
    store_.write(image, offset, bytes);
  }
  void zero(const ImageSpec& image, std::uint64_t offset, std::uint64_t length_bytes) override {
    store_.zero(image, offset, length_bytes);
  }
  void discard(const ImageSpec& image, std::uint64_t offset, std::uint64_t length_bytes) override {
    store_.zero(image, offset, length_bytes);
  }
  void resize(const ImageSpec& image, std::uint64_t size_bytes) override { store_.resize(image, size_bytes); }
  void protect(const ImageSpec& image, const std::string& snapshot, bool is_protected) override {
    store_.protect(image, snapshot, is_protected);
  }
  std::chrono::seconds kept_in_trash(const ImageSpec& image, const std::string& /*id*/) override {
    const auto trashed = store_.trashed();
    const auto found = trashed.find(image);
    return found == trashed.end() ? std::chrono::seconds(-1) : found->second;
  }
  std::vector<std::byte> content(const ImageSpec& image, const std::string& snapshot) override {
    return store_.content(image, snapshot);
  }

 private:
  MemoryImageStore store_;
  int count_ = 0;
};

}  // namespace

std::unique_ptr<StoreHarness> make_memory_harness() {
  return std::make_unique<MemoryHarness>();
}

}  // namespace crossover::test
