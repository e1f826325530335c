// Which nodes of a cluster a survey asks, and what it makes of those it does not reach.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "crossover/error.hpp"
#include "pve/pve_cluster.hpp"

using namespace crossover;

namespace {

std::string item(std::string_view kind, std::string_view name, std::string_view bytes) {
  return fmt::format("{} {} {}\n{}\n", kind, name, bytes.size(), bytes);
}

/// Answers surveys; the last word of a command says of what.
class AnsweringShell final : public Shell {
 public:
  using Answer = std::function<std::string(const std::string& what)>;

  AnsweringShell(std::string name, Answer answer) : name_(std::move(name)), answer_(std::move(answer)) {}

  [[nodiscard]] const std::string& host() const override { return name_; }
  std::unique_ptr<Process> start(const std::vector<std::string>&, std::stop_token) override { return nullptr; }
  CommandResult run(const std::vector<std::string>& argv, std::string_view, std::chrono::milliseconds,
                    std::stop_token) override {
    return {0, answer_(argv.back()) + item("end", "survey", ""), ""};
  }

 private:
  std::string name_;
  Answer answer_;
};

/// Entered by pve1; pve2 and pve3 are online, pve4 is not. Guest 100 is on pve1, 200 on pve2, 300 on pve3 and 400
/// on pve4.
struct FourNodes {
  std::map<std::uint32_t, std::string> owners{{100, "pve1"}, {200, "pve2"}, {300, "pve3"}, {400, "pve4"}};
  /// Where guests are when the cluster's files are read, if that is not where they were when it was asked for
  /// nodes.
  std::map<std::uint32_t, std::string> moved;
  std::set<std::string> silent;
  std::mutex mutex;
  std::set<std::string> asked;
  AnsweringShell entry{"pve1", [this](const std::string& what) { return answer("pve1", what); }};
  PveCluster cluster{entry, [this](const NodeState& node) {
                       return std::make_unique<AnsweringShell>(
                           node.name,
                           [this, name = node.name](const std::string& what) { return answer(name, what); });
                     }};

  std::string answer(const std::string& node, const std::string& what) {
    if (node != "pve1") {
      const std::scoped_lock lock(mutex);
      CHECK(what == "node");
      asked.insert(node);
      if (silent.contains(node)) throw Error(ErrorCode::unreachable, "reach", node, "no route to host", true);
    }
    auto now = owners;
    if (what != "nodes") {
      for (const auto& [vmid, owner] : moved) now[vmid] = owner;
    }
    std::string text;
    if (node == "pve1") {
      std::string list;
      for (int number = 1; number <= 4; ++number) {
        list += fmt::format(R"({}"pve{}": {{"id": {}, "online": {}, "ip": "192.0.2.{}"}})", list.empty() ? "" : ",",
                            number, number, number == 4 ? 0 : 1, number);
      }
      text += item("file", ".members",
                   fmt::format(R"({{"nodename": "pve1", "version": 1, "cluster": {{"name": "lab",
        "version": 1, "nodes": 4, "quorate": 1}}, "nodelist": {{{}}}}})",
                               list));
      std::string ids;
      for (const auto& [vmid, owner] : now) {
        ids += fmt::format(R"({}"{}": {{"node": "{}", "type": "qemu", "version": 1}})", ids.empty() ? "" : ",",
                           vmid, owner);
      }
      text += item("file", ".vmlist", fmt::format(R"({{"version": 1, "ids": {{{}}}}})", ids));
      for (const auto& [vmid, owner] : now) {
        if (what == "cluster")
          text += item("file", fmt::format("nodes/{}/qemu-server/{}.conf", owner, vmid), "name: x\n");
      }
    }
    if (what == "nodes") return text;
    std::string list = "VMID NAME STATUS MEM(MB) BOOTDISK(GB) PID\n";
    for (const auto& [vmid, owner] : now) {
      if (owner == node) list += fmt::format("{} x running 512 4.00 17\n", vmid);
    }
    return text + item("bridge", "vmbr-" + node, "") + item("status", "qm-list", "0") +
           item("output", "qm-list", list);
  }

  ClusterInventory survey(std::optional<std::set<std::uint32_t>> guests = {}) {
    asked.clear();
    return cluster.survey({.guests = std::move(guests)}, {});
  }
};

using Nodes = std::set<std::string>;

}  // namespace

TEST_CASE_FIXTURE(FourNodes, "without names all nodes are asked that the cluster has for online") {
  const ClusterInventory found = survey();
  CHECK(asked == Nodes{"pve2", "pve3"});
  for (const std::uint32_t vmid : {100, 200, 300}) CHECK(found.guests.at(vmid).power == Power::running);
  CHECK(found.guests.at(400).power == Power::unknown);
  CHECK(found.nodes.at("pve4").unreachable.find("offline") != std::string::npos);
  CHECK(found.nodes.at("pve2").bridges == Nodes{"vmbr-pve2"});
}

TEST_CASE_FIXTURE(FourNodes, "with names only those guests' nodes are asked, and the entry node") {
  ClusterInventory found = survey({{200}});
  CHECK(asked == Nodes{"pve2"});
  CHECK(found.guests.at(200).power == Power::running);
  CHECK(found.guests.at(100).power == Power::running);
  CHECK(found.guests.at(300).power == Power::unknown);
  // Nobody tried.
  CHECK(found.nodes.at("pve3").unreachable.empty());
  CHECK(found.nodes.at("pve4").unreachable.empty());
  CHECK(found.nodes.size() == 4);

  found = survey({{100, 999}});
  CHECK(asked.empty());
  CHECK(found.nodes.at("pve1").bridges == Nodes{"vmbr-pve1"});

  CHECK(survey({{400}}).nodes.at("pve4").unreachable.find("offline") != std::string::npos);
  CHECK(survey(std::set<std::uint32_t>{}).guests.size() == 4);
  CHECK(asked.empty());
}

TEST_CASE_FIXTURE(FourNodes, "a guest that comes to another node while the cluster is asked is asked for there") {
  moved = {{200, "pve3"}};
  const ClusterInventory found = survey({{200}});
  CHECK(asked == Nodes{"pve2", "pve3"});
  CHECK(found.guests.at(200).node == "pve3");
  CHECK(found.guests.at(200).power == Power::running);
}

TEST_CASE_FIXTURE(FourNodes, "a node that cannot be reached is told of, and the others are surveyed") {
  silent = {"pve3"};
  const ClusterInventory found = survey();
  CHECK(found.nodes.at("pve3").unreachable.find("no route to host") != std::string::npos);
  CHECK(found.guests.at(300).power == Power::unknown);
  CHECK(found.guests.at(200).power == Power::running);
}
