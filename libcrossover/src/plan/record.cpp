#include "plan/record.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <nlohmann/json.hpp>

#include "crossover/error.hpp"
#include "plan/points.hpp"

namespace crossover {

namespace {

using nlohmann::json;

/// Of every record; a newer one is not read.
constexpr int version = 1;

std::string_view name_of(ReplicaState state) {
  switch (state) {
    case ReplicaState::applying:
      return "applying";
    case ReplicaState::applied:
      return "applied";
    case ReplicaState::complete:
      return "complete";
  }
  return "applying";
}

ReplicaState state_of(std::string_view name) {
  if (name == "applied") return ReplicaState::applied;
  if (name == "complete") return ReplicaState::complete;
  if (name == "applying") return ReplicaState::applying;
  throw Error(ErrorCode::format, "read", std::string(replica_key), fmt::format("unknown state '{}'", name));
}

/// Configurations are bytes, JSON strings are UTF-8.
std::string to_base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

std::string from_base64(std::string_view text) {
  if (text.empty()) return {};
  std::string bytes(3 * (text.size() / 4) + 3, '\0');
  const int length =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (length < 0) throw Error(ErrorCode::format, "read", "recovery point", "its configuration is not base64");
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  bytes.resize(static_cast<std::size_t>(length) - padding);
  return bytes;
}

json to_json(const SourceIdentity& source) {
  return {
      {"fsid", source.fsid}, {"pool_id", source.pool_id}, {"image_id", source.image_id}, {"guest", source.guest}};
}

SourceIdentity identity_from(const json& value) {
  return {value.at("fsid"), value.at("pool_id"), value.at("image_id"), value.at("guest")};
}

json parse_versioned(std::string_view text, std::string_view what) {
  try {
    json value = json::parse(text);
    if (value.at("version").get<int>() > version) {
      throw Error(ErrorCode::unsupported, "read", std::string(what),
                  "a newer version of crossover wrote it; update this one");
    }
    return value;
  } catch (const json::exception& error) {
    throw Error(ErrorCode::format, "read", std::string(what), error.what());
  }
}

json to_json(const PointConfig& point) {
  json value{{"target_vmid", point.target_vmid},
             {"config", to_base64(point.config)},
             {"onboot", point.onboot},
             {"images", point.images}};
  if (point.firewall) value["firewall"] = to_base64(*point.firewall);
  return value;
}

PointConfig point_from(const json& value) {
  PointConfig point;
  point.target_vmid = value.at("target_vmid");
  point.config = from_base64(value.at("config").get<std::string>());
  point.onboot = value.at("onboot");
  point.images = value.at("images").get<std::vector<std::string>>();
  if (value.contains("firewall")) point.firewall = from_base64(value.at("firewall").get<std::string>());
  return point;
}

json to_json(const ImageIdentity& image) {
  return {{"pool", image.image.pool},
          {"namespace", image.image.rados_namespace},
          {"name", image.image.name},
          {"image_id", image.id}};
}

ImageIdentity image_from(const json& value) {
  return {{value.at("pool"), value.at("namespace"), value.at("name")}, value.at("image_id")};
}

json to_json(const Promotion& promotion) {
  return {{"point", promotion.point},
          {"time", promotion.time.time_since_epoch().count()},
          {"done", promotion.done}};
}

Promotion promotion_from(const json& value) {
  return {value.at("point"), std::chrono::sys_seconds(std::chrono::seconds(value.at("time").get<std::int64_t>())),
          value.at("done")};
}

json to_json(const ReplicaRecord& record) {
  json points = json::array();
  for (const PointIds& point : record.points) {
    points.push_back({{"name", point.name}, {"source_id", point.source_id}, {"replica_id", point.replica_id}});
    if (point.bad) points.back()["bad"] = true;
    if (point.adopted) points.back()["adopted"] = true;
  }
  json value{{"source", to_json(record.source)},
             {"source_image", record.source_image},
             {"job", record.job},
             {"target_vmid", record.target_vmid},
             {"image_id", record.image_id},
             {"pool_id", record.pool_id},
             {"state", name_of(record.state)},
             {"end_snapshot", record.end_snapshot},
             {"end_source_id", record.end_source_id},
             {"transfer", record.transfer},
             {"points", points}};
  if (record.point) value["point"] = to_json(*record.point);
  if (record.replaces) value["replaces"] = to_json(*record.replaces);
  if (record.taken_back) value["taken_back"] = to_json(*record.taken_back);
  for (const ImageIdentity& image : record.former) value["former"].push_back(to_json(image));
  return value;
}

ReplicaRecord replica_from(const json& value) {
  ReplicaRecord record;
  record.source = identity_from(value.at("source"));
  record.source_image = value.at("source_image");
  record.job = value.at("job");
  record.target_vmid = value.at("target_vmid");
  record.image_id = value.at("image_id");
  record.pool_id = value.at("pool_id");
  record.state = state_of(value.at("state").get<std::string>());
  record.end_snapshot = value.at("end_snapshot");
  record.end_source_id = value.at("end_source_id");
  record.transfer = value.value("transfer", "");
  if (value.contains("point")) record.point = point_from(value.at("point"));
  for (const json& point : value.at("points")) {
    record.points.push_back({point.at("name"), point.at("source_id"), point.at("replica_id"),
                             point.value("bad", false), point.value("adopted", false)});
  }
  if (value.contains("replaces")) record.replaces = image_from(value.at("replaces"));
  if (value.contains("taken_back")) record.taken_back = promotion_from(value.at("taken_back"));
  for (const json& image : value.value("former", json::array())) record.former.push_back(image_from(image));
  return record;
}

/// [offset, length, ...]
json to_json(const std::vector<ByteRange>& ranges) {
  json value = json::array();
  for (const ByteRange& range : ranges) {
    value.push_back(range.offset);
    value.push_back(range.length_bytes);
  }
  return value;
}

std::vector<ByteRange> ranges_from(const json& value) {
  const auto numbers = value.get<std::vector<std::uint64_t>>();
  std::vector<ByteRange> ranges;
  for (std::size_t i = 0; i + 1 < numbers.size(); i += 2) ranges.push_back({numbers[i], numbers[i + 1]});
  return ranges;
}

json to_json(const RollbackTargets& older) {
  json targets = json::array();
  for (const RollbackTarget& target : older.targets) {
    targets.push_back({{"id", target.snapshot_id}, {"name", target.name}, {"witnesses", target.witnesses}});
    if (target.changed) targets.back()["changed"] = to_json(*target.changed);
  }
  return {{"base_id", older.base_id}, {"targets", targets}};
}

RollbackTargets older_from(const json& value) {
  RollbackTargets older;
  older.base_id = value.at("base_id");
  for (const json& target : value.at("targets")) {
    older.targets.push_back({target.at("id"), target.at("name"),
                             target.at("witnesses").get<std::vector<std::uint64_t>>(), std::nullopt});
    if (target.contains("changed")) older.targets.back().changed = ranges_from(target.at("changed"));
  }
  return older;
}

json to_json(const SourceJob& job) {
  json value{{"job", job.job},
             {"destination_fsid", job.destination_fsid},
             {"target_vmid", job.target_vmid},
             {"creating", job.creating}};
  if (job.older) value["older"] = to_json(*job.older);
  return value;
}

SourceJob job_from(const json& value) {
  SourceJob job{value.at("job"), value.at("destination_fsid"), value.at("target_vmid"), value.at("creating")};
  if (value.contains("older")) job.older = older_from(value.at("older"));
  return job;
}

std::string render(json value) {
  value["version"] = version;
  // Other people's snapshots may have any name; it stands there to be read.
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// What `read` makes of the value of a key, if that is there.
template <typename Read>
void read_key(const ImageState& image, const std::string& key, const Read& read) {
  const auto found = image.metadata.find(key);
  if (found == image.metadata.end()) return;
  const json value = parse_versioned(found->second, key);
  try {
    read(value);
  } catch (const json::exception& error) {
    throw Error(ErrorCode::format, "read", key, error.what());
  }
}

std::optional<ReplicaRecord> replica_part(const ImageState& image) {
  std::optional<ReplicaRecord> record;
  read_key(image, std::string(replica_key), [&](const json& value) { record = replica_from(value); });
  if (record && (record->image_id != image.id || record->pool_id != image.pool_id)) record.reset();
  if (!record) return record;
  read_key(image, std::string(promotion_key), [&](const json& value) {
    const Promotion promotion = promotion_from(value);
    const bool is_of_image = value.at("image_id") == image.id && value.at("pool_id") == image.pool_id;
    if (is_of_image && promotion != record->taken_back) set_promotion(*record, promotion, image);
  });
  return record;
}

std::optional<SourceRecord> source_part(const ImageState& image) {
  std::optional<SourceRecord> record;
  for (auto entry = image.metadata.lower_bound(std::string(source_key_prefix));
       entry != image.metadata.end() && entry->first.starts_with(source_key_prefix); ++entry) {
    read_key(image, entry->first, [&](const json& value) {
      const SourceIdentity identity = identity_from(value.at("source"));
      if (identity.image_id != image.id || identity.pool_id != image.pool_id) return;
      if (!record) record = SourceRecord{identity, {}};
      record->jobs[entry->first.substr(source_key_prefix.size())] = job_from(value);
    });
  }
  return record;
}

}  // namespace

void set_promotion(ReplicaRecord& record, const Promotion& promotion, const ImageState& image) {
  record.points = known_points(record, image);
  record.state = promotion.done ? ReplicaState::complete : ReplicaState::applying;
  record.end_source_id = 0;
  record.end_snapshot = promotion.point;
  record.transfer.clear();
  record.point.reset();
  record.promoted = promotion;
}

std::string source_key(std::string_view job_label) {
  return fmt::format("{}{}", source_key_prefix, job_label);
}

std::string render_replica(const ReplicaRecord& record) {
  return render(to_json(record));
}

std::string render_promotion(const ReplicaRecord& record) {
  json value = to_json(record.promoted.value());
  value["image_id"] = record.image_id;
  value["pool_id"] = record.pool_id;
  return render(std::move(value));
}

std::string render_source_job(const SourceIdentity& source, const SourceJob& job) {
  json value = to_json(job);
  value["source"] = to_json(source);
  return render(std::move(value));
}

std::string render_point(const PointConfig& point) {
  return render(to_json(point));
}

std::string transfer_id(const ReplicaRecord& replica, const std::optional<Snapshot>& base,
                        std::uint64_t end_source_id) {
  return fmt::format("{}/{}/{}@{}..{} to {}/{}", replica.source.fsid, replica.source.pool_id,
                     replica.source.image_id, base ? std::to_string(base->id) : "", end_source_id, replica.pool_id,
                     replica.image_id);
}

ImageRecord image_record(const ImageState& image) {
  return {replica_part(image), source_part(image)};
}

ImageRecord readable_record(const ImageState& image) {
  try {
    return image_record(image);
  } catch (const Error&) {
    return {};
  }
}

EarlierReplica earlier_replica(const ImageState& image) {
  const auto found = image.metadata.find(std::string(earlier_record_key));
  if (found == image.metadata.end() || image.metadata.contains(std::string(replica_key))) return EarlierReplica::none;
  const json value = json::parse(found->second, nullptr, false);
  const json replica = value.is_object() ? value.value("replica", json()) : json();
  if (!replica.is_object() || replica.value("image_id", json()) != image.id ||
      replica.value("pool_id", json()) != image.pool_id) {
    return EarlierReplica::none;
  }
  return replica.contains("promoted") ? EarlierReplica::promoted : EarlierReplica::replica;
}

PointConfig parse_point(std::string_view text) {
  const json value = parse_versioned(text, point_key_prefix);
  try {
    return point_from(value);
  } catch (const json::exception& error) {
    throw Error(ErrorCode::format, "read", std::string(point_key_prefix), error.what());
  }
}

}  // namespace crossover
