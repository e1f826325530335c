#include "agent/restricted_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "crossover/error.hpp"
#include "plan/guest_disks.hpp"
#include "plan/reception_check.hpp"
#include "plan/record.hpp"
#include "plan/restricted_config.hpp"

namespace crossover::agent {

namespace {

constexpr std::uint64_t min_hashed_bytes = std::uint64_t{256} << 10;

class RestrictedStore final : public ImageStore {
 public:
  RestrictedStore(const ReceiveContext& context, const CephAccess& access, std::vector<RbdStorage> storages)
      : restriction_(context.restriction), storages_(std::move(storages)), inner_(context.stores.open(access)) {}

  std::string fsid() override { return inner_.fsid(); }

  std::optional<ImageState> find(const ImageSpec& image) override {
    require_own(image);
    return inner_.find(image);
  }

  std::vector<std::optional<ImageState>> find_all(std::span<const ImageSpec> images) override {
    for (const ImageSpec& image : images) require_own(image);
    return inner_.find_all(images);
  }

  std::uint64_t available_bytes(const std::string& pool) override {
    const bool is_own = std::any_of(storages_.begin(), storages_.end(), [&pool](const RbdStorage& one) {
      return one.pool == pool || one.data_pool == pool;
    });
    if (!is_own) throw refusal(pool, "it is another pool");
    return inner_.available_bytes(pool);
  }

  void hash_blocks(const ImageSpec& image, const Snapshot& snapshot, const BlockSelection& blocks,
                   const std::function<void(const BlockHash&)>& take, std::stop_token stop) override {
    require_own(image);
    // Of a small block that is mostly known, what is not could be found by trying.
    if (blocks.block_bytes < min_hashed_bytes) {
      throw refusal(to_string(image), fmt::format("blocks of less than {} bytes are not hashed", min_hashed_bytes));
    }
    const auto state = inner_.find(image);
    const auto record = state ? image_record(*state).replica : std::nullopt;
    const bool is_point = record && !record->promoted &&
                          std::any_of(record->points.begin(), record->points.end(), [&](const PointIds& point) {
                            return point.name == snapshot.name && point.replica_id == snapshot.id;
                          });
    if (!is_point) throw refusal(to_string(image) + "@" + snapshot.name, "it is no recovery point of a replica");
    inner_.hash_blocks(image, snapshot, blocks, take, std::move(stop));
  }

  void create(const ImageSpec& image, const ImageLayout& /*layout*/) override { refuse(image); }
  void remove(const ImageSpec& image) override { refuse(image); }
  void trash(const ImageSpec& image, std::chrono::seconds /*delay*/) override { refuse(image); }
  Snapshot create_snapshot(const ImageSpec& image, const std::string& /*name*/) override { refuse(image); }
  void remove_snapshot(const ImageSpec& image, const Snapshot& /*snapshot*/) override { refuse(image); }
  std::unique_ptr<ImageHold> hold(const ImageSpec& image, std::stop_token /*stop*/) override { refuse(image); }
  void set_metadata(const ImageSpec& image, const std::string& /*key*/, const std::string& /*value*/) override {
    refuse(image);
  }
  void remove_metadata(const ImageSpec& image, const std::string& /*key*/) override { refuse(image); }
  bool replace_metadata(const ImageSpec& image, const std::string& /*key*/,
                        const std::optional<std::string>& /*expected*/,
                        const std::optional<std::string>& /*wanted*/) override {
    refuse(image);
  }
  bool head_unchanged_since(const ImageSpec& image, const Snapshot& /*snapshot*/, std::stop_token /*stop*/) override {
    refuse(image);
  }
  void read_diff(const ImageSpec& image, const std::optional<Snapshot>& /*from*/, const Snapshot& /*to*/,
                 std::uint64_t /*offset*/, DiffSink& /*sink*/, std::stop_token /*stop*/) override {
    refuse(image);
  }
  void read_ranges(const ImageSpec& image, const Snapshot& /*snapshot*/, std::span<const ByteRange> /*ranges*/,
                   DiffSink& /*sink*/, std::stop_token /*stop*/) override {
    refuse(image);
  }

 private:
  void require_own(const ImageSpec& image) const {
    const auto vmid = owner_of_image(image.name);
    const bool is_here = std::any_of(storages_.begin(), storages_.end(), [&image](const RbdStorage& one) {
      return one.pool == image.pool && one.rados_namespace == image.rados_namespace;
    });
    if (vmid && restriction_.allows(*vmid) && is_here) return;
    throw refusal(to_string(image), fmt::format("it is no image of the {}", to_string(restriction_)));
  }

  [[noreturn]] static void refuse(const ImageSpec& image) {
    throw refusal(to_string(image), "a client looks at its images and offers recovery points, and nothing else");
  }

  const Restriction& restriction_;
  std::vector<RbdStorage> storages_;
  ImageStore& inner_;
};

}  // namespace

std::vector<RbdStorage> storages_of(const ReceiveContext& context, const CephAccess& access) {
  const ClusterInventory cluster = context.storages();
  std::vector<RbdStorage> storages;
  for (const std::string& id : context.restriction.pools) {
    const auto storage = cluster.storages.rbd(id);
    if (storage && storage_access(cluster, *storage) == access) storages.push_back(*storage);
  }
  if (storages.empty()) {
    throw refusal("user client." + access.user,
                  "only the storages it is for can be used, with the users they have in storage.cfg; leave out "
                  "--destination-user and --destination-keyring");
  }
  return storages;
}

ImageStore& RestrictedStores::open(const CephAccess& access) {
  const std::scoped_lock lock(mutex_);
  std::unique_ptr<ImageStore>& store = stores_[access];
  if (!store) store = std::make_unique<RestrictedStore>(context_, access, storages_of(context_, access));
  return *store;
}

}  // namespace crossover::agent
