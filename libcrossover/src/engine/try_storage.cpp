#include "engine/try_storage.hpp"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>

#include "engine/unexpected_error.hpp"

namespace crossover {

namespace {

/// Cancelled, which is no failure, is thrown on.
Error first_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (...) {
    return failure_at_hand();
  }
}

}  // namespace

void try_storage(ImageStore& store, const RbdStorage& storage, std::uint64_t number, const std::stop_token& stop) {
  constexpr std::uint64_t size_bytes = std::uint64_t{4} << 20;
  const ImageSpec image{storage.pool, storage.rados_namespace, fmt::format("crossover-probe-{:016x}", number)};
  // What receiving looks at before it makes anything.
  (void)store.find(image);
  if (stop.stop_requested()) throw Cancelled{};
  store.create(image, {.size_bytes = size_bytes,
                       .features = image_feature::layering | image_feature::exclusive_lock,
                       .data_pool = storage.data_pool});
  std::exception_ptr failure;
  std::optional<Snapshot> snapshot;
  try {
    const std::unique_ptr<ImageHold> hold = store.hold(image, stop);
    // Content lies in a data pool, if there is one, whose rights are its own.
    std::array<std::byte, 4096> content{};
    content.fill(std::byte{0x55});
    const std::unique_ptr<DiffSink> sink = hold->write_diff({}, stop);
    sink->size(size_bytes);
    sink->data(0, content);
    sink->finish();
    snapshot = hold->create_snapshot("crossover-probe");
  } catch (...) {
    failure = std::current_exception();
  }
  try {
    if (snapshot) store.remove_snapshot(image, *snapshot);
    store.remove(image);
  } catch (...) {
    const Error error = failure ? first_of(failure) : error_at_hand();
    throw Error(
        error.code(), error.operation(), error.subject(),
        fmt::format("{}; {} is left there, with nothing in it that is of use", error.cause(), to_string(image)),
        error.retryable(), error.error_number());
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace crossover
