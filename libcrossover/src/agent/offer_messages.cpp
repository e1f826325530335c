#include "agent/offer_messages.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <variant>

#include "crossover/options.hpp"

namespace crossover::agent {

namespace {

constexpr const char* reading = "read offer";

constexpr std::array step_names{
    std::pair{StepKind::verify_content, "verify_content"}, std::pair{StepKind::check_origin, "check_origin"},
    std::pair{StepKind::lock_replica, "lock_replica"},     std::pair{StepKind::create_image, "create_image"},
    std::pair{StepKind::adopt, "adopt"},                   std::pair{StepKind::check_head, "check_head"},
    std::pair{StepKind::check_cut, "check_cut"},           std::pair{StepKind::roll_back, "roll_back"},
    std::pair{StepKind::record_point, "record_point"},     std::pair{StepKind::commit, "commit"},
    std::pair{StepKind::write_config, "write_config"},     std::pair{StepKind::retire, "retire"},
};

Json render_options(const MirrorOptions& options) {
  Json json = Json::object();
  for (const OptionDescription& option : option_list()) {
    std::visit([&](const auto& member) { json[std::string(option.member)] = options.*member; }, option.pointer);
  }
  return json;
}

MirrorOptions read_options(const Json& json) {
  MirrorOptions options;
  for (const OptionDescription& option : option_list()) {
    std::visit(
        [&](const auto& member) {
          using Value = std::remove_reference_t<decltype(options.*member)>;
          options.*member = member_of<Value>(json, std::string(option.member).c_str(), reading);
        },
        option.pointer);
  }
  return options;
}

Json render_images(const ImageStates& images) {
  Json list = Json::array();
  for (const auto& [ref, state] : images) {
    list.push_back({{"access", ref.access}, {"image", ref.spec}, {"state", state}});
  }
  return list;
}

ImageRef read_ref(const Json& json) {
  return {member_of<CephAccess>(json, "access", reading), member_of<ImageSpec>(json, "image", reading)};
}

const Json& list_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array()) {
    throw Error(ErrorCode::format, reading, "", std::string(key) + " is no list");
  }
  return *found;
}

ImageStates read_images(const Json& json, const char* key) {
  ImageStates images;
  for (const Json& one : list_of(json, key)) {
    images.insert_or_assign(read_ref(one), member_of<std::optional<ImageState>>(one, "state", reading));
  }
  return images;
}

Json render_fsids(const std::map<CephAccess, std::string>& fsids) {
  Json list = Json::array();
  for (const auto& [access, fsid] : fsids) list.push_back({{"access", access}, {"fsid", fsid}});
  return list;
}

std::map<CephAccess, std::string> read_fsids(const Json& json, const char* key) {
  std::map<CephAccess, std::string> fsids;
  for (const Json& one : list_of(json, key)) {
    fsids.insert_or_assign(member_of<CephAccess>(one, "access", reading), member_of<std::string>(one, "fsid", reading));
  }
  return fsids;
}

Json render_repair(const Repair& repair) {
  Json list = Json::array();
  for (const auto& [ref, ranges] : repair.ranges) {
    list.push_back({{"access", ref.access}, {"image", ref.spec}, {"ranges", ranges}});
  }
  return {{"point", repair.point}, {"images", std::move(list)}};
}

Repair read_repair(const Json& json) {
  Repair repair;
  repair.point = member_of<std::string>(json, "point", reading);
  for (const Json& one : list_of(json, "images")) {
    repair.ranges.insert_or_assign(read_ref(one), member_of<std::vector<ByteRange>>(one, "ranges", reading));
  }
  return repair;
}

Json render_seen(const SeenDestination& seen) {
  Json problems = Json::array();
  for (const auto& [ref, problem] : seen.problems) {
    problems.push_back({{"access", ref.access},
                        {"image", ref.spec},
                        {"error", render_error(Error(problem.code, "look at image", "", problem.text))}});
  }
  return {{"cluster", seen.cluster},
          {"fsids", render_fsids(seen.fsids)},
          {"images", render_images(seen.images)},
          {"problems", std::move(problems)}};
}

SeenDestination read_seen(const Json& json) {
  SeenDestination seen;
  seen.cluster = member_of<ClusterInventory>(json, "cluster", reading);
  seen.fsids = read_fsids(json, "fsids");
  seen.images = read_images(json, "images");
  for (const Json& one : list_of(json, "problems")) {
    try {
      throw_error(member_of<Json>(one, "error", reading));
    } catch (const Error& error) {
      seen.problems.insert_or_assign(read_ref(one), Problem{error.code(), error.cause()});
    }
  }
  return seen;
}

}  // namespace

Json render_offer(const PointOffer& offer) {
  return {{"options", render_options(offer.request.options)},
          {"vmid", offer.vmid()},
          {"target_vmid", offer.target_vmid()},
          {"onboot", offer.request.onboot},
          {"now", offer.now.time_since_epoch().count()},
          {"cluster", offer.source},
          {"fsids", render_fsids(offer.source_fsids)},
          {"images", render_images(offer.source_images)},
          {"repair", render_repair(offer.repair)},
          {"seen", render_seen(offer.seen)}};
}

PointOffer parse_offer(const Json& json) {
  if (!json.is_object()) throw Error(ErrorCode::format, reading, "", "it is no object");
  PointOffer offer;
  offer.request = parse_options(read_options(member_of<Json>(json, "options", reading)));
  const auto vmid = member_of<Vmid>(json, "vmid", reading);
  const auto target = member_of<Vmid>(json, "target_vmid", reading);
  for (const Vmid one : {vmid, target}) {
    if (one < min_vmid || one > max_vmid) throw Error(ErrorCode::format, reading, "", "a VMID is out of range");
  }
  offer.request.vmids = {.all = false, .guests = {{vmid, target}}};
  offer.request.excluded.clear();
  offer.request.tag.clear();
  offer.request.onboot = member_of<std::optional<std::string>>(json, "onboot", reading);
  // Every name and every comparison of a time has room for years of four digits only.
  constexpr std::int64_t year_9999 = 253402300799;
  const auto now = member_of<std::int64_t>(json, "now", reading);
  if (now < 0 || now > year_9999) throw Error(ErrorCode::format, reading, "", "the time is none");
  offer.now = std::chrono::sys_seconds(std::chrono::seconds(now));
  offer.source = member_of<ClusterInventory>(json, "cluster", reading);
  if (!offer.source.guests.contains(vmid)) throw Error(ErrorCode::format, reading, "", "it is of no guest");
  offer.source_fsids = read_fsids(json, "fsids");
  offer.source_images = read_images(json, "images");
  offer.repair = read_repair(member_of<Json>(json, "repair", reading));
  offer.seen = read_seen(member_of<Json>(json, "seen", reading));
  return offer;
}

std::string to_string(StepKind kind) {
  const auto found =
      std::find_if(step_names.begin(), step_names.end(), [kind](const auto& one) { return one.first == kind; });
  if (found == step_names.end()) throw Error(ErrorCode::usage, "name step", "", "it is no step at the replica");
  return found->second;
}

StepKind parse_step(const std::string& name) {
  const auto found =
      std::find_if(step_names.begin(), step_names.end(), [&](const auto& one) { return one.second == name; });
  if (found == step_names.end()) throw Error(ErrorCode::format, "read step", "", "it is no step at the replica");
  return found->first;
}

}  // namespace crossover::agent
