#include "plan/migration_record.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "crossover/vm_config.hpp"

namespace crossover {

namespace {

using nlohmann::json;

constexpr int version = 3;
constexpr const char* fence_lock = "migrate";

constexpr std::array<std::pair<MigrationStep, std::string_view>, 4> step_names{
    {{MigrationStep::switching, "switching"},
     {MigrationStep::fenced, "fenced"},
     {MigrationStep::starting, "starting"},
     {MigrationStep::done, "done"}}};

std::string_view name_of(MigrationStep step) {
  return std::find_if(step_names.begin(), step_names.end(), [&](const auto& one) { return one.first == step; })
      ->second;
}

MigrationStep step_of(std::string_view name) {
  const auto found =
      std::find_if(step_names.begin(), step_names.end(), [&](const auto& one) { return one.second == name; });
  if (found == step_names.end()) {
    throw Error(ErrorCode::format, "read", std::string(migration_key), fmt::format("unknown step '{}'", name));
  }
  return found->first;
}

}  // namespace

std::string render_migration(const MigrationRecord& record) {
  json value{{"version", version},
             {"id", record.id},
             {"run", record.run},
             {"sequence", record.sequence},
             {"image_id", record.image_id},
             {"pool_id", record.pool_id},
             {"job", record.job},
             {"destination_fsid", record.destination_fsid},
             {"target_vmid", record.target_vmid},
             {"step", name_of(record.step)},
             {"was_running", record.was_running},
             {"ha_state", record.ha_state},
             {"point", record.point}};
  if (record.onboot) value["onboot"] = *record.onboot;
  if (record.suspends) value["suspends"] = true;
  if (!record.source_state.empty()) value["source_state"] = record.source_state;
  if (!record.target_state.empty()) value["target_state"] = record.target_state;
  return value.dump();
}

std::optional<MigrationRecord> migration_record(const ImageState& image) {
  const auto found = image.metadata.find(std::string(migration_key));
  if (found == image.metadata.end()) return std::nullopt;
  try {
    const json value = json::parse(found->second);
    const int written = value.at("version").get<int>();
    if (written != version) {
      throw Error(ErrorCode::unsupported, "read", std::string(migration_key),
                  written > version ? "a newer version of crossover wrote it; update this one"
                                    : "an earlier build of crossover wrote it, which does not say whose it is; end "
                                      "the migration with that build, or make sure where the guest is, and remove "
                                      "the key from its disks with 'rbd image-meta remove'");
    }
    MigrationRecord record;
    record.id = value.at("id");
    record.run = value.at("run");
    record.sequence = value.at("sequence");
    record.image_id = value.at("image_id");
    record.pool_id = value.at("pool_id");
    record.job = value.at("job");
    record.destination_fsid = value.at("destination_fsid");
    record.target_vmid = value.at("target_vmid");
    record.step = step_of(value.at("step").get<std::string>());
    record.was_running = value.at("was_running");
    record.ha_state = value.at("ha_state");
    record.point = value.at("point");
    if (value.contains("onboot")) record.onboot = value.at("onboot");
    record.suspends = value.value("suspends", false);
    record.source_state = value.value("source_state", "");
    record.target_state = value.value("target_state", "");
    if (record.image_id != image.id || record.pool_id != image.pool_id) return std::nullopt;
    return record;
  } catch (const json::exception& error) {
    throw Error(ErrorCode::format, "read", std::string(migration_key), error.what());
  }
}

std::optional<MigrationRecord> agreed_migration(std::span<const FoundMigration> found, bool fenced) {
  std::map<std::string, const MigrationRecord*> newest;
  std::set<std::string> torn;
  for (const FoundMigration& one : found) {
    const MigrationRecord*& known = newest[one.record.id];
    if (known == nullptr || one.record.sequence > known->sequence) {
      known = &one.record;
      torn.erase(one.record.id);
    } else if (one.record.sequence == known->sequence && one.record.run != known->run) {
      torn.insert(one.record.id);
    }
  }
  if (!fenced) std::erase_if(newest, [](const auto& one) { return one.second->step == MigrationStep::done; });
  if (newest.empty()) return std::nullopt;
  if (newest.size() == 1 && !torn.contains(newest.begin()->first)) return *newest.begin()->second;
  std::vector<std::string> said;
  for (const FoundMigration& one : found) {
    said.push_back(fmt::format("{} of {} to VM {} on the cluster {}, at '{}', by the run {}", to_string(one.image),
                               one.record.id, one.record.target_vmid, one.record.destination_fsid,
                               name_of(one.record.step), one.record.run));
  }
  throw Error(ErrorCode::conflict, "read", std::string(migration_key),
              fmt::format("its disks tell of migrations that are not one: {}; make sure where the guest is, and "
                          "remove the key where it is wrong with 'rbd image-meta remove IMAGE {}'",
                          fmt::join(said, "; "), migration_key));
}

std::optional<MigrationRecord> migration_under_way(const ImageState& image) {
  auto record = migration_record(image);
  if (record && record->step == MigrationStep::done) record.reset();
  return record;
}

std::string with_fence(const std::string& config) {
  VmConfig changed = parse_vm_config(config);
  changed.set("onboot", "0");
  changed.set("lock", fence_lock);
  return changed.to_bytes();
}

std::string without_fence(const std::string& config, const std::optional<std::string>& onboot) {
  VmConfig changed = parse_vm_config(config);
  changed.remove("lock");
  if (onboot) {
    changed.set("onboot", *onboot);
  } else {
    changed.remove("onboot");
  }
  return changed.to_bytes();
}

bool is_fenced(const std::string& config) {
  const VmConfig now = parse_vm_config(config);
  return now.get("lock") == fence_lock && now.get("onboot") == "0";
}

}  // namespace crossover
