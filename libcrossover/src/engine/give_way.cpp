#include "engine/give_way.hpp"

#include <algorithm>
#include <utility>

#include "crossover/error.hpp"
#include "plan/recovery_mark.hpp"

namespace crossover {

GiveWay::GiveWay(ImageStores& stores, std::function<std::chrono::sys_seconds()> now, std::function<void()> give_way,
                 std::chrono::milliseconds interval)
    : stores_(stores), now_(std::move(now)), give_way_(std::move(give_way)), interval_(interval) {
  if (give_way_) watching_ = std::jthread([this](const std::stop_token& destroyed) { watch(destroyed); });
}

void GiveWay::require_none(const ImageRef& image, const ImageState& state) const {
  if (!has_recovery_mark(state, now_())) return;
  throw Error(ErrorCode::locked, "receive", to_string(image.spec),
              "its replica is being recovered on the destination; nothing is received for it meanwhile", true);
}

std::shared_ptr<void> GiveWay::use(const ImageRef& image) {
  const std::scoped_lock lock(mutex_);
  const std::uint64_t id = ++last_;
  in_use_.emplace(id, image);
  return {nullptr, [this, id](void*) {
            const std::scoped_lock releasing(mutex_);
            in_use_.erase(id);
          }};
}

void GiveWay::watch(const std::stop_token& destroyed) {
  for (std::unique_lock lock(mutex_); !destroyed.stop_requested();) {
    changed_.wait_for(lock, destroyed, interval_, [&destroyed] { return destroyed.stop_requested(); });
    const auto images = in_use_;
    lock.unlock();
    try {
      const bool is_marked = std::any_of(images.begin(), images.end(), [this](const auto& used) {
        const auto state = stores_.open(used.second.access).find(used.second.spec);
        return state && has_recovery_mark(*state, now_());
      });
      if (is_marked) return give_way_();
    } catch (...) {  // NOLINT(bugprone-empty-catch): it is looked at again, and its writer meets the same
    }
    lock.lock();
  }
}

}  // namespace crossover
