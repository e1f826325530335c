/// \file
/// An image's exclusive lock, and what it tells of the head without a look at its content.
///
/// Whoever writes to an image with the exclusive-lock feature, rolls it back, resizes it or takes that feature from
/// it takes its lock first: the record "lock.rbd_lock" on the header object (cls_lock), which has a tag. While
/// nobody has the lock, the tag of the last one stays and means nothing; who takes the lock next overwrites it. So
/// one that gives the lock back and knows what the head reads as, or which transfer it holds a part of, can leave a
/// word there in the tag, a seal: as long as it stands nobody has had the lock since. The name of one that died
/// with the lock tells the same. Changes of the image that leave the head alone (snapshots, metadata) break a seal,
/// too; who does those can put it back, as long as it has the lock itself. What writes past the lock, straight into
/// the objects, is not seen.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "rbd/librbd_handles.hpp"

namespace crossover::rbd {

/// A seal that was found on an image, which nobody had locked then.
struct FoundSeal {
  std::optional<std::uint64_t> snapshot;  ///< the id of the one that the head read as; or
  std::string transfer;                   ///< what wrote to the head last
  std::uint64_t version = 0;              ///< of the header object, to which the seal was written once more
};

/// Whether the image's lock is still in the name of that client, which has it or died with it. Without a lock, or
/// while somebody else has it, false.
bool is_locked_by(const Image& image, std::uint64_t client);

/// The seal on an image that is open for writing; nothing if there is none.
std::optional<FoundSeal> find_seal(const Image& image);

/// The exclusive lock of an image, held explicitly: a lock that was taken automatically is given away to who asks.
/// For one thread at a time.
class HeadLock {
 public:
  /// `image` has the feature, is open for writing and outlives this. A seal that was found on it right before tells
  /// of the head, unless somebody else has had the lock in between. Throws Error if another client does not give
  /// the lock away.
  HeadLock(const Image& image, const std::optional<FoundSeal>& seal);
  /// Gives the lock back with a seal if it is known what the head reads as or which transfer was the last to write
  /// to it, and nothing but closing the image is left to do with it then. An image without a valid object map gets
  /// no seal: what others have a lock's holder do for them, a resize, leaves no trace that is told from its own
  /// work.
  ~HeadLock();
  HeadLock(const HeadLock&) = delete;
  HeadLock& operator=(const HeadLock&) = delete;

  /// Whether it is known that the head reads as the snapshot of that id.
  [[nodiscard]] bool knows(std::uint64_t snapshot) const;
  /// A moment under this lock, to be asked for before a look at the head.
  [[nodiscard]] std::uint64_t moment() const;
  /// At that moment it did.
  void learn(std::uint64_t snapshot, std::uint64_t moment);
  /// It may read as anything from now on, and nothing but that transfer (or, if it is empty, who knows what) has
  /// written to it.
  void forget(std::string transfer = {}) noexcept {
    snapshot_.reset();
    transfer_ = std::move(transfer);
  }
  /// The transfer that was the last to write to the head; empty: it is not known.
  [[nodiscard]] const std::string& transfer() const noexcept { return transfer_; }

 private:
  const Image& image_;
  std::string id_;
  std::string record_;  // as it stands while the lock is ours; empty: it is not
  std::optional<std::uint64_t> snapshot_;
  std::uint64_t moment_ = 0;  // when it did
  std::string transfer_;
};

/// The lock of an image for a change that leaves its head alone, so that a seal on it stays. Nothing where there is
/// no seal, or another client has the image open: it would not get the lock meanwhile.
class SealKeeper {
 public:
  explicit SealKeeper(const Image& image);

 private:
  std::optional<HeadLock> lock_;
};

}  // namespace crossover::rbd
