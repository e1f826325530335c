#include "agent/restricted_store.hpp"

#include <algorithm>
#include <utility>

#include "crossover/error.hpp"
#include "crossover/snapshot_name.hpp"
#include "plan/guest_disks.hpp"

namespace crossover::agent {

namespace {

class RestrictedStore final : public ImageStore {
 public:
  RestrictedStore(const ReceiveContext& context, CephAccess access, std::vector<RbdStorage> storages)
      : context_(context),
        access_(std::move(access)),
        storages_(std::move(storages)),
        inner_(context.stores.open(access_)) {}

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
    require(std::any_of(storages_.begin(), storages_.end(),
                        [&pool](const RbdStorage& one) { return one.pool == pool || one.data_pool == pool; }),
            pool, "it is another pool");
    return inner_.available_bytes(pool);
  }

  void create(const ImageSpec& image, const ImageLayout& layout) override {
    require_own(image);
    require(std::any_of(storages_.begin(), storages_.end(),
                        [&](const RbdStorage& one) {
                          return one.pool == image.pool && one.rados_namespace == image.rados_namespace &&
                                 one.data_pool == layout.data_pool;
                        }),
            to_string(image), "its storage has another data pool");
    inner_.create(image, layout);
  }

  void remove(const ImageSpec& image) override {
    if (const auto state = look(image)) {
      require(is_unfinished_copy(*state) || (is_unclaimed(*state) && is_empty(image, *state)), to_string(image),
              "it is no first copy that was cut short; 'crossover prune' removes replicas");
    }
    inner_.remove(image);
  }

  Snapshot create_snapshot(const ImageSpec& image, const std::string& name) override {
    if (const auto state = look(image)) {
      const auto record = image_record(*state).replica;
      require(record ? record->state == ReplicaState::applied && record->end_snapshot == name
                     : is_unclaimed(*state) && parse_snapshot_name(name).has_value(),
              to_string(image) + "@" + name, "it is not the recovery point that was sent");
    }
    return inner_.create_snapshot(image, name);
  }

  void remove_snapshot(const ImageSpec& image, const Snapshot& snapshot) override {
    if (const auto state = look(image)) {
      require(parse_snapshot_name(snapshot.name) &&
                  (is_unfinished_copy(*state) || is_in_unclaimed_head(image, *state, snapshot)),
              to_string(image) + "@" + snapshot.name,
              "'crossover prune' on the destination removes recovery points");
    }
    inner_.remove_snapshot(image, snapshot);
  }

  void roll_back(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) override {
    require_applying(image);
    inner_.roll_back(image, snapshot, std::move(stop));
  }

  void set_metadata(const ImageSpec& image, const std::string& key, const std::string& value) override {
    const Vmid vmid = require_own(image);
    if (const auto state = inner_.find(image)) {
      const ReceivePolicy policy(context_.restriction, storages_, vmid);
      if (key == record_key) {
        policy.check_record(*state, value, context_.now());
        require(!is_unclaimed(*state) || context_.is_empty(access_, image), to_string(image),
                "it is not empty and no record says that it is a replica");
      } else {
        require(key.starts_with(point_key_prefix), to_string(image), "its metadata has no " + key);
        policy.check_completion(*state, key.substr(point_key_prefix.size()), value);
      }
    }
    inner_.set_metadata(image, key, value);
  }

  void remove_metadata(const ImageSpec& image, const std::string& key) override {
    require_own(image);
    require(key == progress_key, to_string(image), "'crossover prune' on the destination removes recovery points");
    inner_.remove_metadata(image, key);
  }

  bool head_unchanged_since(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) override {
    require_own(image);
    return inner_.head_unchanged_since(image, snapshot, std::move(stop));
  }

  void read_diff(const ImageSpec& image, const std::optional<Snapshot>& /*from*/, const Snapshot& /*to*/,
                 std::uint64_t /*offset*/, DiffSink& /*sink*/, std::stop_token /*stop*/) override {
    throw refusal(to_string(image), "its content is not for the client to read");
  }

  void read_ranges(const ImageSpec& image, const Snapshot& /*snapshot*/, std::span<const ByteRange> /*ranges*/,
                   DiffSink& /*sink*/, std::stop_token /*stop*/) override {
    throw refusal(to_string(image), "its content is not for the client to read");
  }

  void hash_blocks(const ImageSpec& image, const Snapshot& snapshot, const BlockSelection& blocks,
                   const std::function<void(const BlockHash&)>& take, std::stop_token stop) override {
    require_own(image);
    inner_.hash_blocks(image, snapshot, blocks, take, std::move(stop));
  }

  std::unique_ptr<DiffSink> write_diff(const ImageSpec& image, const TransferProgress& from,
                                       std::stop_token stop) override {
    require_applying(image);
    return inner_.write_diff(image, from, std::move(stop));
  }

 private:
  static void require(bool allowed, const std::string& subject, const std::string& cause) {
    if (!allowed) throw refusal(subject, cause);
  }

  Vmid require_own(const ImageSpec& image) const { return own_vmid(image, storages_, context_.restriction); }

  /// What is there of an image of the client's own. What is not there is for the store to say.
  std::optional<ImageState> look(const ImageSpec& image) {
    require_own(image);
    return inner_.find(image);
  }

  bool is_empty(const ImageSpec& image, const ImageState& state) const {
    return state.snapshots.empty() && state.watchers.empty() && context_.is_empty(access_, image);
  }

  /// Removing it loses nothing: everything in it is still in the head.
  bool is_in_unclaimed_head(const ImageSpec& image, const ImageState& state, const Snapshot& snapshot) {
    return is_unclaimed(state) && state.watchers.empty() && inner_.head_unchanged_since(image, snapshot, {});
  }

  void require_applying(const ImageSpec& image) {
    const auto state = look(image);
    if (!state) return;
    const auto record = image_record(*state).replica;
    require(record && record->state == ReplicaState::applying, to_string(image), "no transfer to it was begun");
  }

  const ReceiveContext& context_;
  CephAccess access_;
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
