// A replica's configuration that people changed, and Proxmox VE's snapshots of a replica.
#include "plan/replica_changes.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "plan_stage.hpp"
#include "unit/model/test_data.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

/// What the images of the replica have as snapshots, by their volumes.
ReplicaSnapshots snapshots_of(const std::string& config,
                              const std::map<std::string, std::vector<std::string>>& images) {
  std::map<std::string, ImageState> states;
  for (const auto& [volume, names] : images) {
    for (const std::string& name : names) states[volume].snapshots.push_back({.id = 1, .name = name});
    states.try_emplace(volume);
  }
  return replica_snapshots(parse_vm_config(config), [&](const std::string& volume) {
    const auto found = states.find(volume);
    return found == states.end() ? nullptr : &found->second;
  });
}

std::vector<std::string> undone(const std::string& present, const std::vector<std::string>& written,
                                const std::string& next) {
  std::vector<VmConfig> configs;
  for (const std::string& one : written) configs.push_back(parse_vm_config(one));
  return undone_changes(parse_vm_config(present), configs, parse_vm_config(next));
}

using Texts = std::vector<std::string>;

/// VM 99100 has a point, and the configuration that stands with it.
class Stage : public PlanStage {
 public:
  Stage() {
    for (int hours = 3; hours > 0; --hours) names.push_back(add_point(noon - std::chrono::hours(hours)));
    record(names.back(), replica_config);
  }

  void record(const std::string& point, const std::string& bytes) {
    for (const std::string key : {"scsi0", "scsi1"}) {
      replica_image(key)->metadata[std::string(point_key_prefix) + point] = render_point(
          {99100, bytes, {}, "1", {"backup/vm-99100-disk-0-ssd", "backup/vm-99100-disk-1-hdd"}});
    }
  }

  /// The warnings about the replica's configuration.
  static Texts told(const GuestPlan& plan) {
    CHECK_FALSE(plan.problem);
    Texts told;
    std::copy_if(plan.warnings.begin(), plan.warnings.end(), std::back_inserter(told),
                 [](const std::string& text) { return text.find("99100") != std::string::npos; });
    return told;
  }

  Texts names;
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("Proxmox VE's snapshots stay while every disk they name has theirs") {
  const std::string edited = read_data("unknown/edited-replica.conf");
  const std::string section = edited.substr(edited.find("\n[drill]"));
  std::map<std::string, std::vector<std::string>> images{{"copy:vm-99100-disk-0-data", {"other", "drill"}},
                                                         {"copy:vm-99100-disk-1-data", {"drill"}},
                                                         {"copy:vm-99100-disk-0-more", {"drill"}}};
  CHECK(snapshots_of(edited, images) == ReplicaSnapshots{section, "drill", {}});

  images["copy:vm-99100-disk-0-more"] = {"drill2"};
  ReplicaSnapshots left = snapshots_of(edited, images);
  CHECK(left.sections.empty());
  CHECK(left.parent.empty());
  CHECK(left.dropped == Texts{"[drill]: copy:vm-99100-disk-0-more has no RBD snapshot of that name"});

  images.erase("copy:vm-99100-disk-0-more");
  left = snapshots_of(edited, images);
  CHECK(left.dropped ==
        Texts{"[drill]: its tpmstate0 is copy:vm-99100-disk-0-more, which is no image of the replica"});
}

TEST_CASE("of several snapshots each is looked at for itself, and stays byte for byte") {
  const std::string main = "name: a\nparent: two\nscsi0: copy:x\n";
  const std::string one = "\n[one]\n#first\nscsi0: copy:x\nide2: none,media=cdrom\nsnaptime: 1\n";
  const std::string two = "\n\n[two]\r\nparent: one\nscsi0: copy:x,new=1\nvmstate: copy:vm-1-state-two";
  const std::string pending = "\n[PENDING]\nmemory: 7\n";
  const std::string config = main + pending + one + "\n[special:cloudinit]\nname: a\n" + two;
  CHECK(snapshots_of(config, {{"copy:x", {"one", "two"}}}) == ReplicaSnapshots{one + two, "two", {}});
  CHECK(snapshots_of(config, {{"copy:x", {"two"}}}).sections == two);
  const ReplicaSnapshots first = snapshots_of(config, {{"copy:x", {"one"}}});
  CHECK(first.sections == one);
  CHECK(first.parent.empty());
  CHECK(first.dropped.size() == 1);
  CHECK(snapshots_of(main, {}) == ReplicaSnapshots{});
  CHECK(snapshots_of("", {}) == ReplicaSnapshots{});
}

TEST_CASE("a configuration gets them back") {
  CHECK(with_snapshots("name: a\n", "", "") == "name: a\n");
  CHECK(with_snapshots("name: a\n", "\n[one]\nname: b\n", "") == "name: a\n\n[one]\nname: b\n");
  CHECK(with_snapshots("name: a", "\n[one]\nname: b\n", "one") == "name: a\nparent: one\n\n[one]\nname: b\n");
  CHECK(with_snapshots("name: a\n\n[special:cloudinit]\nname: a\n", "\n[one]\nname: b\n", "one") ==
        "name: a\nparent: one\n\n[special:cloudinit]\nname: a\n\n[one]\nname: b\n");
}

TEST_CASE("what people changed is told from what a run wrote, and from what the source changed") {
  const std::string wrote = "memory: 64\nname: a\nonboot: 0\n";
  CHECK(undone(wrote, {wrote}, "memory: 128\nname: a\nonboot: 0\n").empty());
  CHECK(undone("memory: 128\nname: a\nonboot: 0\n", {wrote}, wrote) == Texts{"memory: 128 (becomes 64)"});
  CHECK(undone("memory: 128\nname: a\nonboot: 0\n", {wrote}, "memory: 128\nname: a\nonboot: 0\n").empty());
  CHECK(undone("memory: 64\nname: a\nnet0: virtio\nonboot: 1\n", {wrote}, wrote) ==
        Texts{"net0: virtio (is removed)", "onboot: 1 (becomes 0)"});
  CHECK(undone("name: a\nonboot: 0\n", {wrote}, wrote) == Texts{"no memory (64 comes back)"});
  CHECK(undone("name: a\nonboot: 0\n", {wrote}, "name: a\nonboot: 0\n").empty());
  CHECK(undone(wrote + "[PENDING]\nmemory: 7\n", {wrote}, wrote) == Texts{"[PENDING] memory: 7 (is removed)"});
  CHECK(undone("#drill\n" + wrote, {wrote}, wrote) == Texts{"description: drill (is removed)"});
  // Nobody knows what the last run wrote.
  CHECK(undone("memory: 128\n", {}, wrote).empty());
}

TEST_CASE("how it is written is no change, nor are locks, snapshots and what no record has") {
  const std::string wrote = "onboot: 0\nmemory: 64\ntablet: no\n";
  for (const std::string same :
       {"memory: 64\nonboot: 0\ntablet: 0\n", "lock: migrate\nmemory:  64\nonboot: no\r\ntablet: off",
        "memory: 64\nonboot: 0\ntablet: 0\nparent: one\n\n[one]\nmemory: 7\n",
        "cipassword: x\nmemory: 64\nonboot: 0\ntablet: 0\n", "memory: 7\nmemory: 64\nonboot: 0\ntablet: 0\n",
        "memory: 64\nonboot: 0\ntablet: 0\n\n[special:cloudinit]\nname: a\n"}) {
    CAPTURE(same);
    CHECK(undone(same, {wrote}, "memory: 128\n").empty());
  }
  // A run that was cut may have made its point without writing the configuration.
  CHECK(undone(wrote, {wrote, "memory: 65\n"}, "memory: 66\n").empty());
  const Texts told = undone("args: " + std::string(500, 'x') + "\n" + wrote, {wrote}, wrote);
  REQUIRE(told.size() == 1);
  CHECK(told.front().size() < 200);
}

TEST_CASE("a run keeps a snapshot of its replica") {
  Stage stage;
  const std::string section =
      "\n[drill]\nmemory: 512\nscsi0: copy:vm-99100-disk-0-ssd,size=32M\nscsi1: copy:vm-99100-disk-1-hdd\n";
  stage.put_target("parent: drill\n" + stage.replica_config + section);
  for (const std::string key : {"scsi0", "scsi1"}) stage.snapshot(*stage.replica_image(key), "drill");
  GuestPlan plan = stage.plan();
  CHECK(Stage::told(plan).empty());
  CHECK(plan.replica_snapshots == section);
  CHECK(plan.replica_parent == "drill");
  // What a point holds is the guest's.
  CHECK_FALSE(has(plan.replica_config, "drill"));

  Stage::remove_snapshot(*stage.replica_image("scsi1"), "drill");
  plan = stage.plan();
  CHECK(plan.replica_snapshots.empty());
  CHECK(plan.replica_parent.empty());
  const Texts told = Stage::told(plan);
  REQUIRE(told.size() == 1);
  CHECK(has(told.front(), "[drill]: copy:vm-99100-disk-1-hdd has no RBD snapshot of that name"));
}

TEST_CASE("a copy beside the replica does not take over a snapshot of the replica") {
  Stage stage;
  stage.put_target(stage.replica_config + "\n[drill]\nscsi0: copy:vm-99100-disk-0-ssd\n");
  stage.snapshot(*stage.replica_image("scsi0"), "drill");
  stage.options.reseed = true;
  const GuestPlan plan = stage.plan();
  CHECK(plan.reseeds);
  CHECK(plan.replica_snapshots.empty());
  const Texts told = Stage::told(plan);
  REQUIRE(told.size() == 1);
  CHECK(has(told.front(), "no image of the replica"));
}

TEST_CASE("a run says what it takes back, once") {
  Stage stage;
  CHECK(Stage::told(stage.plan()).empty());
  std::string edited = stage.replica_config;
  edited.replace(edited.find("memory: 512"), 11, "memory: 128");
  stage.put_target(edited);
  const Texts told = Stage::told(stage.plan());
  REQUIRE(told.size() == 1);
  CHECK(has(told.front(), "memory: 128 (becomes 512)"));
  CHECK_FALSE(has(told.front(), "\n"));

  // The source changed, and the replica did not.
  stage.put_target(stage.replica_config);
  std::string grown = stage.config;
  grown.replace(grown.find("memory: 512"), 11, "memory: 999");
  stage.put_source(grown);
  CHECK(Stage::told(stage.plan()).empty());
  // A point that was made and whose configuration was not written: what stands there is the one before.
  stage.record(stage.names.at(1), stage.replica_config);
  stage.record(stage.names.back(), "memory: 640\nname: web\nonboot: 0\n");
  CHECK(Stage::told(stage.plan()).empty());
}
