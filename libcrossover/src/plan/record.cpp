#include "plan/record.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <nlohmann/json.hpp>

#include "crossover/error.hpp"

namespace crossover {

namespace {

using nlohmann::json;

/// The newest that is read. Records are written in the first one that can say what is to be said.
constexpr int newest_version = 2;
constexpr int first_version = 1;
constexpr int promotion_version = 2;

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
  throw Error(ErrorCode::format, "read", std::string(record_key), fmt::format("unknown state '{}'", name));
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
    if (value.at("version").get<int>() > newest_version) {
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

json to_json(const ReplacedImage& replaced) {
  return {{"pool", replaced.image.pool},
          {"namespace", replaced.image.rados_namespace},
          {"name", replaced.image.name},
          {"image_id", replaced.id}};
}

ReplacedImage replaced_from(const json& value) {
  return {{value.at("pool"), value.at("namespace"), value.at("name")}, value.at("image_id")};
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
  if (record.promoted) {
    value["promoted"] = {{"point", record.promoted->point},
                         {"time", record.promoted->time.time_since_epoch().count()}};
  }
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
  if (value.contains("promoted")) {
    const json& promoted = value.at("promoted");
    record.promoted =
        Promotion{promoted.at("point"),
                  std::chrono::sys_seconds(std::chrono::seconds(promoted.at("time").get<std::int64_t>()))};
  }
  for (const json& point : value.at("points")) {
    record.points.push_back({point.at("name"), point.at("source_id"), point.at("replica_id"),
                             point.value("bad", false), point.value("adopted", false)});
  }
  if (value.contains("replaces")) record.replaces = replaced_from(value.at("replaces"));
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

json to_json(const SourceRecord& record) {
  json jobs = json::object();
  for (const auto& [label, job] : record.jobs) {
    jobs[label] = {{"job", job.job},
                   {"destination_fsid", job.destination_fsid},
                   {"target_vmid", job.target_vmid},
                   {"creating", job.creating}};
    if (job.older) jobs[label]["older"] = to_json(*job.older);
  }
  return {{"source", to_json(record.source)}, {"jobs", jobs}};
}

SourceRecord source_from(const json& value) {
  SourceRecord record;
  record.source = identity_from(value.at("source"));
  for (const auto& [label, job] : value.at("jobs").items()) {
    record.jobs[label] = {job.at("job"), job.at("destination_fsid"), job.at("target_vmid"), job.at("creating")};
    if (job.contains("older")) record.jobs[label].older = older_from(job.at("older"));
  }
  return record;
}

}  // namespace

std::string render_record(const ImageRecord& record) {
  const bool promoted = record.replica && record.replica->promoted;
  json value{{"version", promoted ? promotion_version : first_version}};
  if (record.replica) value["replica"] = to_json(*record.replica);
  if (record.source) value["source"] = to_json(*record.source);
  // Other people's snapshots may have any name; it stands there to be read.
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string render_point(const PointConfig& point) {
  json value = to_json(point);
  value["version"] = first_version;
  return value.dump();
}

std::string transfer_id(const ReplicaRecord& replica, const std::optional<Snapshot>& base,
                        std::uint64_t end_source_id) {
  return fmt::format("{}/{}/{}@{}..{} to {}/{}", replica.source.fsid, replica.source.pool_id,
                     replica.source.image_id, base ? std::to_string(base->id) : "", end_source_id, replica.pool_id,
                     replica.image_id);
}

ImageRecord image_record(const ImageState& image) {
  const auto found = image.metadata.find(std::string(record_key));
  if (found == image.metadata.end()) return {};
  const json value = parse_versioned(found->second, record_key);
  try {
    ImageRecord record;
    if (value.contains("replica")) record.replica = replica_from(value.at("replica"));
    if (value.contains("source")) record.source = source_from(value.at("source"));
    if (record.replica && (record.replica->image_id != image.id || record.replica->pool_id != image.pool_id)) {
      record.replica.reset();
    }
    if (record.source &&
        (record.source->source.image_id != image.id || record.source->source.pool_id != image.pool_id)) {
      record.source.reset();
    }
    return record;
  } catch (const json::exception& error) {
    throw Error(ErrorCode::format, "read", std::string(record_key), error.what());
  }
}

ImageRecord readable_record(const ImageState& image) {
  try {
    return image_record(image);
  } catch (const Error&) {
    return {};
  }
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
