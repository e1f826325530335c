#include "plan/start_check.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "plan/firewall_names.hpp"
#include "plan/migration_check.hpp"
#include "plan/snapshot_limit.hpp"
#include "plan_stage.hpp"

namespace crossover::test {

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

bool has(const std::vector<std::string>& texts, const std::string& part) {
  return std::any_of(texts.begin(), texts.end(), [&](const std::string& text) { return contains(text, part); });
}

const FirewallNames cluster_names = defined_firewall_names(
    "[OPTIONS]\n\nenable: 1\n\n[ALIASES]\n\nOffice 192.0.2.0/24 # the first floor\n\n[IPSET Admins] # both\n\n192.0.2.7\n"
    "dc/office\n\n[group web]\n\nIN ACCEPT -p tcp -dport 80\n");

}  // namespace

TEST_CASE("a cluster's firewall file defines names") {
  CHECK(cluster_names == FirewallNames{{"web"}, {"admins"}, {"office"}});
  CHECK(defined_firewall_names("") == FirewallNames{});
}

TEST_CASE("a guest's firewall rules refer to names") {
  const auto missing = [](const std::string& rules) {
    return missing_firewall_names("[OPTIONS]\n\nenable: 1\n\n[ALIASES]\n\nmine 192.0.2.9\n\n[IPSET own]\n\n192.0.2.10\n\n"
                                  "[RULES]\n\n" + rules, cluster_names);
  };
  for (const char* fine :
       {"", "IN ACCEPT -i net0\n", "GROUP web -i net0\n", "|GROUP WEB\n", "IN SSH(ACCEPT) -source dc/OFFICE\n",
        "IN ACCEPT -source +dc/admins,+own -dest mine,office,192.0.2.1-192.0.2.5,2001:db8::1/64\n",
        "OUT ACCEPT -dest guest/gone -p tcp\n", "IN ACCEPT -source +sdn/net-all\n", "IN ACCEPT -source +management\n",
        "IN ACCEPT -source local_network\n", "IN ACCEPT # -source nowhere\n", "IN ACCEPT -log nolog -p tcp -dport 80\n"}) {
    CAPTURE(fine);
    CHECK(missing(fine) == FirewallNames{});
  }
  CHECK(missing("GROUP webservers -i net0\nIN ACCEPT -source +dc/office -p tcp -dport 443 -log nolog\n"
                "IN SSH(ACCEPT) -source dc/admin_host\n") == FirewallNames{{"webservers"}, {"office"}, {"admin_host"}});
  // A guest's own names do not count where the cluster's are meant.
  CHECK(missing("|IN ACCEPT -source +dc/own,!dc/mine\n") == FirewallNames{{}, {"own"}, {"mine"}});
  CHECK(missing("\n[IPSET more]\n\n! Elsewhere\n192.0.2.1\n") == FirewallNames{{}, {}, {"elsewhere"}});
}

TEST_CASE("what keeps a replica from starting is said by a mirror, and stops a migration, all of it at once") {
  PlanStage stage;
  stage.options.keep_host_devices = true;
  stage.put_source(stage.config +
                   "cpu: custom-fast\nmachine: pc-q35-10.1\nnet0: virtio=aa:bb:cc:dd:ee:ff,bridge=vmbr7\n"
                   "net1: virtio=aa:bb:cc:dd:ee:fe,bridge=vmbr8\nhostpci0: mapping=gpu,pcie=1\nusb1: mapping=key\n"
                   "virtiofs0: dirid=share\nide2: local:iso/x.iso,media=cdrom\nhookscript: local:snippets/h.pl\nlock: snapshot\n"
                   "\n[PENDING]\nscsi2: ssd:vm-100-disk-9\n");
  stage.inventory.source.guests.at(100).firewall = "[RULES]\nGROUP web\n";
  NodeState& node = stage.inventory.destination.nodes.at("w1");
  node.qemu_version = "9.2.0";
  node.bridges = {"vmbr0"};
  const GuestPlan plan = stage.plan();
  REQUIRE_FALSE(plan.problem);
  const std::vector<std::string> parts{"custom-fast", "pc-q35-10.1", "vmbr7", "vmbr8", "device gpu",
                                       "device key",  "device share", "security group web"};
  for (const std::string& part : parts) CHECK_MESSAGE(has(plan.warnings, part), part);
  const MigrateRequest request = parse_options(stage.options, MigrateOptions{});
  const auto scopes = scope_both(request.mirror, stage.inventory.source, stage.inventory.destination);
  const auto found =
      migration_findings(request, stage.inventory, scopes.at(0), plan, {.target = 1U << 20, .source = {}});
  for (const std::string& part : parts) CHECK_MESSAGE(has(found, part), part);
  for (const char* part : {"locked (snapshot)", "changes of scsi2", "the medium local:iso/x.iso", "its hookscript",
                           "are free in the pool"}) {
    CHECK_MESSAGE(has(found, part), std::string(part));
  }

  // Once it is there, nothing is said.
  ClusterInventory& there = stage.inventory.destination;
  there.cpu_models = {"fast"};
  there.device_mappings = {{"pci/gpu", {"w1"}}, {"usb/key", {"w1", "w2"}}, {"directory/share", {"w1"}}};
  there.firewall.groups = {"web"};
  node.qemu_version = "10.1.0";
  node.bridges = {"vmbr7", "vmbr8"};
  for (const std::string& part : parts) CHECK_MESSAGE(!has(stage.plan().warnings, part), part);
  // Nor of a node that could not be asked.
  node.bridges.clear();
  node.unreachable = "it sleeps";
  CHECK_FALSE(has(stage.plan().warnings, "vmbr7"));
  node.unreachable.clear();
  there.device_mappings["pci/gpu"] = {"w2"};
  CHECK(has(stage.plan().warnings, "device gpu"));
}

TEST_CASE("two guests with one disk are refused by name, with the way out") {
  PlanStage stage;
  stage.options.vmid = "100,101";
  const std::string line = "scsi5: ssd:vm-100-disk-9,cache=none,shared=1,size=8M\n";
  stage.put_source(stage.config + line);
  stage.inventory.source.guests[101] = {.vmid = 101, .node = "e1", .config = "name: twin\n" + line};
  const auto scopes = [&] { return scope_guests(parse_options(stage.options), stage.inventory.source); };
  SUBCASE("in one run") {
    for (const GuestScope& scope : scopes()) {
      REQUIRE(scope.problem);
      const std::uint32_t other = scope.vmid == 100 ? 101 : 100;
      CHECK_MESSAGE(contains(scope.problem->text, fmt::format("VM {}: its disk scsi5", scope.vmid)), scope.problem->text);
      CHECK_MESSAGE(contains(scope.problem->text,
                             fmt::format("'qm set {} --scsi5 ssd:vm-100-disk-9,cache=none,shared=1,size=8M,backup=0'",
                                         other)),
                    scope.problem->text);
    }
  }
  SUBCASE("of which one leaves it out") {
    stage.inventory.source.guests[101].config = "name: twin\nscsi5: ssd:vm-100-disk-9,backup=0,shared=1,size=8M\n";
    for (const GuestScope& scope : scopes()) CHECK_FALSE(scope.problem);
  }
  SUBCASE("of which the other is not mirrored now") {
    stage.options.vmid = "100";
    stage.inventory.source_images[PlanStage::ref("fast", "vm-100-disk-9")] = PlanStage::image("s9", 1, 8 << 20);
    const GuestPlan plan = stage.plan();
    REQUIRE_MESSAGE(!plan.problem, plan.problem->text);
    CHECK(has(plan.warnings, "is scsi5 of VM 101 as well"));
    // Its record says that it is the other's.
    ImageState& image = *stage.inventory.source_images[PlanStage::ref("fast", "vm-100-disk-9")];
    put_record(image.metadata,
               {std::nullopt, SourceRecord{{east_fsid, 1, "s9", 101}, {{"j101", {"j101", west_fsid, 99101}}}}});
    const GuestPlan again = stage.plan();
    REQUIRE(again.problem);
    CHECK_MESSAGE(contains(again.problem->text, "is scsi5 of VM 101 as well"), again.problem->text);
  }
}

TEST_CASE("the kernel's client maps no image with more than 510 snapshots") {
  PlanStage stage;
  stage.add_point(noon - std::chrono::hours(1));
  bool on_source = false;
  SUBCASE("the guest's") { on_source = true; }
  SUBCASE("the replica's") {}
  ClusterInventory& cluster = on_source ? stage.inventory.source : stage.inventory.destination;
  ImageState& image = on_source ? *stage.source_image("scsi0") : *stage.replica_image("scsi0");
  const auto fill = [&](std::size_t count) {
    while (image.snapshots.size() < count) {
      stage.snapshot(image, fmt::format("other-{}", image.snapshots.size()));
    }
  };
  const std::string storages = on_source ? "rbd: ssd\n\tpool fast\n\tkrbd 1\n\nrbd: hdd\n\tpool slow\n"
                                         : "rbd: copy\n\tpool backup\n\tkrbd 1\n\nrbd: other\n\tpool more\n";
  // The run removes the point before its own.
  fill(krbd_snapshots + 1);
  CHECK_FALSE(stage.plan().problem);
  cluster.storages = parse_storage_config(storages);
  const GuestPlan plan = stage.plan();
  REQUIRE(plan.problem);
  CHECK(plan.problem->code == ErrorCode::unsupported);
  CHECK_MESSAGE(contains(plan.problem->text, "more than 510"), plan.problem->text);
  image.snapshots.pop_back();
  CHECK_MESSAGE(!stage.plan().problem, stage.plan().problem->text);
  CHECK(has(stage.plan().warnings, "will have 510 snapshots"));
  image.snapshots.resize(many_snapshots - 1);
  CHECK_FALSE(has(stage.plan().warnings, "snapshots"));
}

}  // namespace crossover::test
