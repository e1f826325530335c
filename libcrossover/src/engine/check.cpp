#include "engine/check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <nlohmann/json.hpp>
#include <optional>

#include "crossover/byte_size.hpp"
#include "crossover/error.hpp"
#include "engine/survey.hpp"
#include "engine/unexpected_error.hpp"

namespace crossover {

namespace {

using Result = CheckItem::Result;

class Checker {
 public:
  Checker(const MirrorRequest& request, const Ports& ports, std::stop_token stop)
      : request_(request), ports_(ports), stop_(std::move(stop)) {}

  CheckReport run() {
    const auto source = cluster("source", ports_.source.hypervisor);
    const auto destination = cluster("destination", ports_.destination.hypervisor);
    if (source && destination) guests(*source, *destination);
    return std::move(report_);
  }

 private:
  void add(Result result, std::string subject, std::string text) {
    report_.items.push_back({result, std::move(subject), std::move(text)});
  }

  std::optional<ClusterInventory> cluster(const std::string& side, Hypervisor& hypervisor) {
    try {
      ClusterInventory inventory = hypervisor.survey({.versions = true}, stop_);
      add(Result::ok, side,
          fmt::format("reached node {} of {}", inventory.entry_node,
                      inventory.name.empty() ? "no cluster" : "cluster " + inventory.name));
      if (inventory.writable) {
        add(Result::ok, side, "/etc/pve can be written (quorum and rights)");
      } else {
        add(Result::failed, side, "/etc/pve cannot be written: no quorum, or not root");
      }
      if (inventory.restriction) {
        add(Result::ok, side,
            fmt::format(
                "its agent is restricted to receiving, for {}: --keepremote has no effect, 'crossover prune' "
                "has to run there",
                to_string(*inventory.restriction)));
      }
      for (const auto& [name, node] : inventory.nodes) {
        const std::string subject = fmt::format("{} node {}", side, name);
        if (!node.unreachable.empty()) {
          add(Result::failed, subject, node.unreachable);
        } else if (node.ceph_version.empty()) {
          add(Result::failed, subject, "'ceph --version' fails there: Ceph's programs are missing");
        } else {
          add(Result::ok, subject,
              fmt::format("{}; {}", node.pve_version.empty() ? "pveversion unknown" : node.pve_version,
                          node.ceph_version));
        }
      }
      return inventory;
    } catch (...) {
      add(Result::failed, side, failure_at_hand().what());
      return std::nullopt;
    }
  }

  void guests(const ClusterInventory& source, const ClusterInventory& destination) {
    try {
      const Survey found =
          survey_guests(request_, source, std::async(std::launch::deferred, [&] { return destination; }), ports_);
      std::uint64_t to_come = 0;
      const ImageRef* target = nullptr;
      for (const GuestScope& scope : found.guests) {
        const GuestPlan plan = plan_guest(request_, found.inventory, scope, ports_.clock.now());
        guest(plan);
        for (const DiskPlan& disk : plan.disks) {
          if (disk.full) to_come += disk.layout.size_bytes;
        }
        if (!scope.replicas.empty()) target = &scope.replicas.front();
      }
      for (const LeftOutContainer& container : left_out_containers(request_, source)) {
        add(Result::warning, fmt::format("container {}", container.vmid),
            fmt::format("it is not replicated: {}", container.reason));
      }
      if (found.guests.empty()) add(Result::warning, "guests", "no guest is meant by these options");
      if (target != nullptr) space(found.inventory, *target, to_come);
    } catch (...) {
      add(Result::failed, "guests", failure_at_hand().what());
    }
  }

  void guest(const GuestPlan& plan) {
    const std::string subject = fmt::format("VM {}", plan.vmid);
    if (plan.problem) {
      add(Result::failed, subject, plan.problem->text);
      return;
    }
    std::string disks;
    for (const DiskPlan& disk : plan.disks) {
      disks +=
          fmt::format("{}{} ({})", disks.empty() ? "" : ", ", disk.disk.key, disk.full ? "full" : "incremental");
    }
    add(Result::ok, subject,
        fmt::format("{} to VM {} on {}: {}; consistency: {}", plan.name, plan.target_vmid, plan.target_node,
                    disks.empty() ? "configuration only" : disks, plan.consistency));
    for (const LeftOut& left_out : plan.left_out) {
      if (left_out.is_disk) {
        const bool is_failure = !left_out.excluded && !request_.options.allow_left_out;
        add(is_failure ? Result::failed : Result::warning, subject,
            fmt::format("{} is not replicated: {}", left_out.key, left_out.reason));
      }
    }
    for (const FormerImage& former : former_images(plan)) {
      add(Result::warning, subject, fmt::format("{} on the destination: {}", former.image, describe(former)));
    }
    for (const std::string& warning : plan.warnings) add(Result::warning, subject, warning);
  }

  /// First copies need at most the disks' sizes; thin images need less, so that running short is a warning.
  void space(const Inventory& inventory, const ImageRef& target, std::uint64_t to_come) {
    const std::string subject = "storage " + request_.pool;
    const std::string data_pool = inventory.destination.storages.rbd(request_.pool)->data_pool;
    const std::string& pool = data_pool.empty() ? target.spec.pool : data_pool;
    try {
      const std::uint64_t free = ports_.destination.images.open(target.access).available_bytes(pool);
      const std::string text = fmt::format("{} free in the pool {}; first copies to come are at most {}",
                                           format_bytes(free), pool, format_bytes(to_come));
      add(to_come > free ? Result::warning : Result::ok, subject, text);
    } catch (...) {
      add(Result::warning, subject, fmt::format("its free space is unknown: {}", failure_at_hand().what()));
    }
  }

  const MirrorRequest& request_;
  const Ports& ports_;
  std::stop_token stop_;
  CheckReport report_;
};

std::string_view name_of(Result result) {
  switch (result) {
    case Result::ok:
      return "ok";
    case Result::warning:
      return "warning";
    case Result::failed:
      return "failed";
  }
  return "failed";
}

}  // namespace

CheckReport check(const MirrorRequest& request, const Ports& ports, std::stop_token stop) {
  return Checker(request, ports, std::move(stop)).run();
}

bool CheckReport::ok() const {
  return std::none_of(items.begin(), items.end(),
                      [](const CheckItem& item) { return item.result == Result::failed; });
}

std::string to_json(const CheckReport& report) {
  nlohmann::ordered_json items = nlohmann::ordered_json::array();
  for (const CheckItem& item : report.items) {
    items.push_back({{"result", name_of(item.result)}, {"subject", item.subject}, {"text", item.text}});
  }
  const nlohmann::ordered_json value{{"version", 1}, {"ok", report.ok()}, {"items", items}};
  return value.dump(2, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace crossover
