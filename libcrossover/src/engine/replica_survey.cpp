#include "engine/replica_survey.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "crossover/error.hpp"
#include "engine/survey.hpp"

namespace crossover {

ReplicaSurvey survey_replicas(const std::set<std::uint32_t>& vmids, const ReplicaPorts& ports,
                              std::stop_token stop) {
  ReplicaLook look;
  SurveyScope scope;
  if (!vmids.empty()) scope.guests = vmids;
  look.cluster = ports.hypervisor.survey(scope, stop);
  std::set<std::uint32_t> meant = vmids;
  for (const std::uint32_t vmid : vmids) {
    if (look.cluster.guests.contains(vmid)) continue;
    throw Error(ErrorCode::not_found, "find replica", fmt::format("VM {}", vmid),
                "the cluster has no such VM; 'qm list' on its nodes shows what there is");
  }
  if (meant.empty()) {
    for (const auto& [vmid, guest] : look.cluster.guests) meant.insert(vmid);
  }
  // First what configurations name, then what is found there to belong to the points.
  std::map<CephAccess, std::string> fsids;
  for (int round = 0; round < 2; ++round) {
    std::set<ImageRef> images;
    for (const std::uint32_t vmid : meant) {
      for (const ImageRef& image : images_to_look_at(vmid, look)) {
        if (!look.images.contains(image) && !look.problems.contains(image)) images.insert(image);
      }
    }
    if (!images.empty()) look_at(images, ports.images, look.images, look.problems, fsids);
    if (stop.stop_requested()) throw Cancelled{};
  }
  ReplicaSurvey survey;
  for (const std::uint32_t vmid : meant) {
    if (auto replica = read_replica(vmid, look)) survey.replicas.emplace(vmid, std::move(*replica));
  }
  survey.cluster = std::move(look.cluster);
  return survey;
}

Replica find_replica(const ReplicaSurvey& survey, std::uint32_t vmid) {
  const auto found = survey.replicas.find(vmid);
  if (found == survey.replicas.end()) {
    throw Error(ErrorCode::not_found, "find replica", fmt::format("VM {}", vmid),
                "none of its images has a record that says it is a replica");
  }
  return found->second;
}

}  // namespace crossover
