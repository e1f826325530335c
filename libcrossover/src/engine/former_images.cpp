#include "engine/former_images.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

#include "crossover/error.hpp"
#include "engine/unexpected_error.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

namespace {

/// Whether the text has the image's name as a whole word: in whichever section, and whatever the line says.
bool names(const std::string& config, const std::string& image) {
  const auto is_of_name = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' || c == '+';
  };
  for (std::size_t at = config.find(image); at != std::string::npos; at = config.find(image, at + 1)) {
    const std::size_t end = at + image.size();
    if ((at == 0 || !is_of_name(config[at - 1])) && (end == config.size() || !is_of_name(config[end]))) return true;
  }
  return false;
}

/// Why the image has to stay; empty: it may go.
std::string why_not(const ReplicaImage& image, const ClusterInventory& cluster, const ReplicaPorts& ports,
                    const std::stop_token& stop) {
  for (const auto& [vmid, guest] : cluster.guests) {
    if (names(guest.config, image.ref.spec.name)) return fmt::format("the configuration of VM {} names it", vmid);
  }
  const std::unique_ptr<ImageHold> hold = ports.images.open(image.ref.access).hold(image.ref.spec, stop);
  const ImageState now = hold->state();
  if (image_record(now).replica != image_record(image.state).replica) return "another command is at it";
  if (!now.watchers.empty()) return fmt::format("it is open elsewhere, by {}", fmt::join(now.watchers, ", "));
  if (now.snapshots.empty()) return "";
  std::vector<std::string> snapshots;
  for (const Snapshot& snapshot : now.snapshots) snapshots.push_back(snapshot.name);
  return fmt::format("it has snapshots: {}", fmt::join(snapshots, ", "));
}

}  // namespace

FormerImages trash_former_images(std::uint32_t vmid, const ReplicaPorts& ports,
                                 const std::function<void(const std::string&)>& note, const std::stop_token& stop) {
  FormerImages result;
  const ReplicaSurvey survey = survey_replicas({vmid}, ports, stop);
  const auto replica = survey.replicas.find(vmid);
  if (replica == survey.replicas.end()) return result;
  // A promoted one is a human's.
  const bool may_go = !replica->second.problem && !replica->second.former_problem && !replica->second.promotion();
  std::optional<ClusterInventory> cluster;
  for (const auto& [image, former] : replica->second.former()) {
    if (former.points != 0 || !may_go) {
      result.stay.push_back(former);
      continue;
    }
    if (!cluster) cluster = ports.hypervisor.survey({}, stop);
    std::string why;
    try {
      why = why_not(image, *cluster, ports, stop);
      if (why.empty()) ports.images.open(image.ref.access).trash(image.ref.spec, trash_days);
    } catch (...) {
      why = failure_at_hand().what();
    }
    if (why.empty()) {
      result.trashed.push_back(fmt::format("{} ({})", former.image, image.state.id));
    } else {
      result.stay.push_back(former);
      note(fmt::format("{} was not moved to the trash: {}", former.image, why));
    }
  }
  return result;
}

}  // namespace crossover
