#include "rbd/head_lock.hpp"

#include <array>
#include <charconv>
#include <memory>
#include <string_view>
#include <vector>

#include "stream/little_endian.hpp"

namespace crossover::rbd {

namespace {

constexpr const char* record_name = "lock.rbd_lock";
/// No object has this version.
constexpr std::uint64_t never = 0;
constexpr std::string_view head_tag = "crossover: the head is snapshot ";
constexpr std::string_view transfer_tag = "crossover: the head is of the transfer ";

std::string tag_of_head(std::uint64_t snapshot) {
  return std::string(head_tag) + std::to_string(snapshot);
}

std::string tag_of_transfer(const std::string& transfer) {
  return std::string(transfer_tag) + transfer;
}

/// cls_lock's record of an exclusive lock that nobody has: its two versions and length, then no holders, the kind,
/// and the tag.
std::string render_seal(const std::string& tag) {
  std::string body;
  stream::append_little_endian(body, std::uint32_t{0});
  body.push_back(1);
  stream::append_little_endian(body, static_cast<std::uint32_t>(tag.size()));
  body += tag;
  std::string record("\x01\x01", 2);
  stream::append_little_endian(record, static_cast<std::uint32_t>(body.size()));
  return record + body;
}

/// What a seal says; nothing if the record is another one.
std::optional<FoundSeal> parse_seal(std::string_view record) {
  constexpr std::size_t head_bytes = 2 + 4 + 4 + 1 + 4;
  if (record.size() < head_bytes) return std::nullopt;
  const std::string_view tag = record.substr(head_bytes);
  if (render_seal(std::string(tag)) != record) return std::nullopt;
  FoundSeal seal;
  if (tag.starts_with(transfer_tag)) {
    seal.transfer = tag.substr(transfer_tag.size());
    return seal;
  }
  if (!tag.starts_with(head_tag)) return std::nullopt;
  const std::string_view digits = tag.substr(head_tag.size());
  std::uint64_t snapshot = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), snapshot);
  if (error != std::errc() || tag_of_head(snapshot) != tag) return std::nullopt;
  seal.snapshot = snapshot;
  return seal;
}

std::string id_of(const Image& image) {
  std::array<char, 256> id{};
  image.check(rbd_get_id(image.get(), id.data(), id.size()), "read image id");
  return id.data();
}

/// The lock's record, and the version that its object has with it.
struct Record {
  std::string bytes;  ///< empty: it was never locked
  std::uint64_t version = 0;
};

Record read_record(const Image& image, const std::string& id) {
  const rados_ioctx_t pool = image.context().get();
  std::vector<char> bytes(65536);
  const int length = rados_getxattr(pool, ("rbd_header." + id).c_str(), record_name, bytes.data(), bytes.size());
  if (length == -ENODATA) return {};
  image.check(length, "read lock");
  return {{bytes.data(), static_cast<std::size_t>(length)}, rados_get_last_version(pool)};
}

/// Writes the record if it is `expected` until then. The version that the object has with it; nothing if it was
/// another one.
std::optional<std::uint64_t> replace_record(const Image& image, const std::string& id, const std::string& expected,
                                            const std::string& record) {
  const rados_ioctx_t pool = image.context().get();
  const std::unique_ptr<void, void (*)(rados_write_op_t)> op(rados_create_write_op(), rados_release_write_op);
  rados_write_op_cmpxattr(op.get(), record_name, LIBRADOS_CMPXATTR_OP_EQ, expected.data(), expected.size());
  rados_write_op_setxattr(op.get(), record_name, record.data(), record.size());
  const int result = rados_write_op_operate(op.get(), pool, ("rbd_header." + id).c_str(), nullptr, 0);
  if (result < 0) return std::nullopt;
  return rados_get_last_version(pool);
}

/// The version of the head's object map. Every resize changes it.
std::uint64_t read_map_version(const Image& image, const std::string& id) {
  const rados_ioctx_t pool = image.context().get();
  std::uint64_t size = 0;
  time_t changed = 0;
  image.check(rados_stat(pool, ("rbd_object_map." + id).c_str(), &size, &changed), "look at object map");
  return rados_get_last_version(pool);
}

/// A journal is closed after a seal would be made, by whoever has the lock.
bool can_be_sealed_with_transfer(const Image& image) {
  return (image.features() & (image_feature::exclusive_lock | image_feature::journaling)) ==
         image_feature::exclusive_lock;
}

bool can_be_sealed(const Image& image) {
  constexpr std::uint64_t looked_at =
      image_feature::exclusive_lock | image_feature::object_map | image_feature::journaling;
  std::uint64_t flags = 0;
  image.check(rbd_get_flags(image.get(), &flags), "read flags");
  return flags == 0 && (image.features() & looked_at) == (looked_at & ~image_feature::journaling);
}

/// Whether a lock's record names a client as its holder, by its number.
bool names(std::string_view record, std::uint64_t client) {
  std::string name("\x08", 1);
  stream::append_little_endian(name, client);
  return record.find(name) != std::string_view::npos;
}

}  // namespace

std::optional<FoundSeal> find_seal(const Image& image) {
  const std::string id = id_of(image);
  const std::string record = read_record(image, id).bytes;
  std::optional<FoundSeal> seal = parse_seal(record);
  if (!seal) return std::nullopt;
  const std::optional<std::uint64_t> version = replace_record(image, id, record, record);
  if (!version) return std::nullopt;
  seal->version = *version;
  return seal;
}

bool is_locked_by(const Image& image, std::uint64_t client) {
  return names(read_record(image, id_of(image)).bytes, client);
}

HeadLock::HeadLock(const Image& image, const std::optional<FoundSeal>& seal) : image_(image), id_(id_of(image)) {
  image.check(rbd_lock_acquire(image.get(), RBD_LOCK_MODE_EXCLUSIVE), "lock image");
  if (seal && seal->snapshot) learn(*seal->snapshot, moment());
  if (seal) transfer_ = seal->transfer;
  const auto [record, version] = read_record(image, id_);
  // Each write to an object gives it a higher version: one that is higher by one than that of the seal is our own
  // turn, and nobody's was between. Writes to other objects can count in it, too, so that an unbroken seal may be
  // taken for a broken one.
  if (seal && version != seal->version + 1) forget();
  if (names(record, image.context().cluster().instance_id())) record_ = record;
}

HeadLock::~HeadLock() {
  if ((!snapshot_ && transfer_.empty()) || record_.empty()) return;
  try {
    if (snapshot_ ? !knows(*snapshot_) : !can_be_sealed_with_transfer(image_)) return;
    // In one operation, or others could have the lock before it is sealed. librbd finds it gone and is content.
    // Where the record is not the one we got with it, somebody has taken the lock from us.
    const std::string tag = snapshot_ ? tag_of_head(*snapshot_) : tag_of_transfer(transfer_);
    static_cast<void>(replace_record(image_, id_, record_, render_seal(tag)));
  } catch (...) {  // NOLINT(bugprone-empty-catch): a head without a seal is listed
  }
}

bool HeadLock::knows(std::uint64_t snapshot) const {
  return snapshot_ == snapshot && moment_ != never && moment() == moment_;
}

std::uint64_t HeadLock::moment() const {
  return can_be_sealed(image_) ? read_map_version(image_, id_) : never;
}

void HeadLock::learn(std::uint64_t snapshot, std::uint64_t moment) {
  transfer_.clear();
  snapshot_ = snapshot;
  moment_ = moment;
}

SealKeeper::SealKeeper(const Image& image) {
  const std::optional<FoundSeal> seal = find_seal(image);
  if (seal && foreign_watchers(image).empty()) lock_.emplace(image, seal);
}

}  // namespace crossover::rbd
