#include "agent/restricted_store.hpp"

#include <algorithm>
#include <utility>

#include "crossover/error.hpp"
#include "crossover/snapshot_name.hpp"
#include "plan/guest_disks.hpp"

namespace crossover::agent {

namespace {

void require(bool allowed, const std::string& subject, const std::string& cause) {
  if (!allowed) throw refusal(subject, cause);
}

/// Looks at the image before each change, as its record says what may be done to it.
class RestrictedHold final : public ImageHold {
 public:
  /// `is_empty` tells whether nothing was ever written to the image.
  RestrictedHold(std::unique_ptr<ImageHold> inner, ImageSpec image, ReceivePolicy policy,
                 std::function<bool()> is_empty, std::function<std::chrono::sys_seconds()> now)
      : inner_(std::move(inner)),
        image_(std::move(image)),
        policy_(policy),
        is_empty_(std::move(is_empty)),
        now_(std::move(now)) {}

  ImageState state() override { return inner_->state(); }

  void set_metadata(const std::string& key, const std::string& value) override {
    const ImageState state = inner_->state();
    if (key == replica_key) {
      policy_.check_record(state, value, now_());
      require(!is_unclaimed(state) || is_empty_(), to_string(image_),
              "it is not empty and no record says that it is a replica");
    } else {
      require(key.starts_with(point_key_prefix), to_string(image_), "its metadata has no " + key);
      policy_.check_completion(state, key.substr(point_key_prefix.size()), value);
    }
    inner_->set_metadata(key, value);
  }

  void remove_metadata(const std::string& key) override {
    require(key == progress_key, to_string(image_), "'crossover prune' on the destination removes recovery points");
    require_not_promoted(image_record(inner_->state()).replica, to_string(image_));
    inner_->remove_metadata(key);
  }

  void roll_back(const Snapshot& snapshot, std::stop_token stop) override {
    require_applying();
    inner_->roll_back(snapshot, std::move(stop));
  }

  bool head_unchanged_since(const Snapshot& snapshot, std::stop_token stop) override {
    return inner_->head_unchanged_since(snapshot, std::move(stop));
  }

  bool head_unchanged_since_transfer(const std::string& id, std::stop_token stop) override {
    return inner_->head_unchanged_since_transfer(id, std::move(stop));
  }

  std::unique_ptr<DiffSink> write_diff(const TransferProgress& from, std::stop_token stop) override {
    require_applying();
    return inner_->write_diff(from, std::move(stop));
  }

  Snapshot create_snapshot(const std::string& name) override {
    const auto record = image_record(inner_->state()).replica;
    require_not_promoted(record, to_string(image_));
    require(record && record->state == ReplicaState::applied && record->end_snapshot == name,
            to_string(image_) + "@" + name, "it is not the recovery point that was sent");
    return inner_->create_snapshot(name);
  }

 private:
  void require_applying() {
    const auto record = image_record(inner_->state()).replica;
    require_not_promoted(record, to_string(image_));
    require(record && record->state == ReplicaState::applying, to_string(image_), "no transfer to it was begun");
  }

  std::unique_ptr<ImageHold> inner_;
  ImageSpec image_;
  ReceivePolicy policy_;
  std::function<bool()> is_empty_;
  std::function<std::chrono::sys_seconds()> now_;
};

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

  void trash(const ImageSpec& image, std::chrono::seconds /*delay*/) override {
    require_own(image);
    throw refusal(to_string(image), "'crossover prune' on the destination removes replicas");
  }

  Snapshot create_snapshot(const ImageSpec& image, const std::string& name) override {
    if (const auto state = look(image)) {
      require(is_unclaimed(*state) && parse_snapshot_name(name), to_string(image) + "@" + name,
              "a recovery point is made by whoever holds the image");
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

  std::unique_ptr<ImageHold> hold(const ImageSpec& image, std::stop_token stop) override {
    const Vmid vmid = require_own(image);
    if (const auto state = inner_.find(image)) {
      const auto record = image_record(*state).replica;
      require_not_promoted(record, to_string(image));
      require(is_unclaimed(*state) || (record && record->target_vmid == vmid), to_string(image),
              "no record says that it is a replica");
    }
    return std::make_unique<RestrictedHold>(
        inner_.hold(image, std::move(stop)), image, ReceivePolicy(context_.restriction, storages_, vmid),
        [this, image] { return context_.is_empty(access_, image); }, context_.now);
  }

  void set_metadata(const ImageSpec& image, const std::string& /*key*/, const std::string& /*value*/) override {
    require_own(image);
    // Between a look and a change of it a recovery could begin: that holds the image, too.
    throw refusal(to_string(image), "its metadata is written by whoever holds it");
  }

  void remove_metadata(const ImageSpec& image, const std::string& /*key*/) override {
    require_own(image);
    throw refusal(to_string(image), "'crossover prune' on the destination removes recovery points");
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

 private:
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
