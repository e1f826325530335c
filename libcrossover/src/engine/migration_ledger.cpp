#include "engine/migration_ledger.hpp"

#include <fmt/format.h>

#include <random>
#include <set>

#include "crossover/error.hpp"

namespace crossover {

namespace {

Error written_meanwhile() {
  return {ErrorCode::conflict, "migrate", std::string(migration_key),
          "another run has written to it since it was read"};
}

/// Whoever begins a migration overwrites what is left of one that was over, disk by disk.
std::vector<FoundMigration> without_overwritten(std::vector<FoundMigration> found) {
  std::set<std::string> begun;
  for (const FoundMigration& one : found) {
    if (one.record.step != MigrationStep::done) begun.insert(one.record.id);
  }
  if (begun.empty()) return found;
  std::erase_if(found, [&begun](const FoundMigration& one) { return !begun.contains(one.record.id); });
  return found;
}

}  // namespace

std::string random_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

std::optional<FoundMigration> found_migration(const ImageSpec& image, const ImageState& state) {
  try {
    auto record = migration_record(state);
    if (!record) return std::nullopt;
    return FoundMigration{image, std::move(*record)};
  } catch (const Error& error) {
    throw Error(error.code(), error.operation(), fmt::format("{} of {}", migration_key, to_string(image)),
                error.cause(), error.retryable());
  }
}

std::vector<MigrationLedger::Disk> MigrationLedger::look() const {
  std::vector<Disk> disks;
  for (const ImageRef& image : disks_) {
    if (auto state = images_.open(image.access).find(image.spec)) disks.push_back({image, std::move(*state)});
  }
  return disks;
}

std::vector<FoundMigration> MigrationLedger::found_on(const std::vector<Disk>& disks) {
  std::vector<FoundMigration> found;
  for (const Disk& disk : disks) {
    if (auto one = found_migration(disk.image.spec, disk.state)) found.push_back(std::move(*one));
  }
  return found;
}

std::optional<MigrationRecord> MigrationLedger::read() const {
  return agreed_migration(without_overwritten(found_on(look())), true);
}

void MigrationLedger::require_ours() const {
  const auto now = read();
  if (now && now->run == run_) return;
  throw Error(ErrorCode::conflict, "migrate", std::string(migration_key),
              now ? "another run has gone on with the migration meanwhile"
                  : "another run has ended the migration meanwhile");
}

void MigrationLedger::require(const std::vector<Disk>& disks, const std::optional<MigrationRecord>& expected) {
  const auto now = agreed_migration(without_overwritten(found_on(disks)), true);
  if (!now && !expected) return;
  if (now && expected && now->id == expected->id && now->run == expected->run &&
      now->sequence == expected->sequence) {
    return;
  }
  throw written_meanwhile();
}

void MigrationLedger::begin(MigrationRecord& next, const std::function<bool()>& is_fenced) const {
  const std::vector<Disk> disks = look();
  const std::vector<FoundMigration> found = found_on(disks);
  if (agreed_migration(found, false)) throw written_meanwhile();
  // One that was through when it was looked at, and the guest without its fence after that: it was taken back by hand.
  if (!found.empty() && is_fenced()) throw written_meanwhile();
  next.sequence = 1;
  write_on(disks, next);
}

void MigrationLedger::write(const std::optional<MigrationRecord>& expected, MigrationRecord& next) const {
  const std::vector<Disk> disks = look();
  require(disks, expected);
  next.sequence = expected ? expected->sequence + 1 : 1;
  write_on(disks, next);
}

void MigrationLedger::write_on(const std::vector<Disk>& disks, MigrationRecord& next) const {
  if (disks.empty()) throw Error(ErrorCode::not_found, "migrate", std::string(migration_key), "its disks are gone");
  next.run = run_;
  for (const Disk& disk : disks) {
    MigrationRecord written = next;
    written.image_id = disk.state.id;
    written.pool_id = disk.state.pool_id;
    replace(disk, render_migration(written));
  }
}

void MigrationLedger::replace(const Disk& disk, const std::optional<std::string>& wanted) const {
  const std::string key(migration_key);
  const auto found = disk.state.metadata.find(key);
  const auto seen = found == disk.state.metadata.end() ? std::nullopt : std::optional(found->second);
  if (!images_.open(disk.image.access).replace_metadata(disk.image.spec, key, seen, wanted)) throw written_meanwhile();
}

void MigrationLedger::forget(const MigrationRecord& expected) const {
  const std::vector<Disk> disks = look();
  require(disks, expected);
  for (const Disk& disk : disks) replace(disk, std::nullopt);
}

}  // namespace crossover
