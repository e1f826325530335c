// What a migration writes down, its fence, and what stands in its way.
#include "crossover/error.hpp"
#include "plan/migration_check.hpp"
#include "plan/migration_record.hpp"
#include "plan_stage.hpp"

using namespace crossover;
using namespace crossover::test;

TEST_CASE("a migration's record reads as it was written, and only on its own image") {
  MigrationRecord record;
  record.image_id = "abc";
  record.pool_id = 7;
  record.job = "Nightly \"x\"";
  record.destination_fsid = west_fsid;
  record.target_vmid = 99100;
  record.was_running = true;
  ImageState image = PlanStage::image("abc", 7, 4096);
  CHECK_FALSE(migration_record(image));
  for (const MigrationStep step :
       {MigrationStep::switching, MigrationStep::fenced, MigrationStep::starting, MigrationStep::done}) {
    record.step = step;
    record.onboot = step == MigrationStep::done ? std::optional<std::string>("1") : std::nullopt;
    record.ha_state = step == MigrationStep::fenced ? "started" : "";
    image.metadata[std::string(migration_key)] = render_migration(record);
    CHECK(migration_record(image) == record);
  }
  image.id = "copy";
  CHECK_FALSE(migration_record(image));
  image.metadata[std::string(migration_key)] = R"({"version":2})";
  CHECK_THROWS_AS(migration_record(image), Error);
  for (const char* text : {"", "{", "[]", R"({"version":1})", R"({"version":1,"step":"x"})"}) {
    image.metadata[std::string(migration_key)] = text;
    CHECK_THROWS_AS(migration_record(image), Error);
  }
}

TEST_CASE("the fence goes on and off without a trace") {
  for (const char* config : {"memory: 512\nonboot: 1\nname: x\n", "memory: 512\n", "onboot: 0\n", "",
                             "#a%3Ab\nonboot: 1\nscsi0: a:b\n\n[old]\nonboot: 1\n", "memory: 512\r\nonboot: 1\r\n",
                             "args: -x\nmemory: 512\n\n\n[PENDING]\nmemory: 1024\n"}) {
    CAPTURE(config);
    const auto onboot = parse_vm_config(config).get("onboot");
    CHECK_FALSE(is_fenced(config));
    const std::string fenced = with_fence(config);
    CHECK(is_fenced(fenced));
    CHECK(with_fence(fenced) == fenced);
    CHECK(without_fence(fenced, onboot) == config);
    CHECK_FALSE(is_fenced(without_fence(fenced, "0")));
  }
}

TEST_CASE("machine, processor, network and space are looked at") {
  const auto findings = [](const std::string& lines, std::optional<std::uint64_t> free = {}) {
    PlanStage stage;
    stage.put_source(stage.config + lines);
    NodeState& node = stage.inventory.destination.nodes.at("w1");
    node.bridges = {"vmbr0", "vmbr10"};
    node.qemu_version = "9.2.0";
    stage.inventory.destination.cpu_models = {"fast"};
    const MigrateRequest request = parse_options(stage.options, MigrateOptions{});
    const auto scopes = scope_guests(request.mirror, stage.inventory.source, stage.inventory.destination);
    const GuestPlan plan = stage.plan();
    return migration_findings(request, stage.inventory, scopes.at(0), plan, free);
  };
  for (const char* fine :
       {"", "machine: q35\n", "machine: pc-q35-9.2\n", "machine: type=pc-i440fx-8.1+pve1,viommu=intel\n",
        "cpu: host\n", "cpu: custom-fast\n", "cpu: cputype=custom-fast,flags=+aes\n",
        "net0: virtio=aa:bb:cc:dd:ee:ff,bridge=vmbr10\n", "net0: virtio=aa:bb:cc:dd:ee:ff\n",
        "nameserver: 1.1.1.1\n"}) {
    CAPTURE(fine);
    CHECK(findings(fine).empty());
  }
  for (const char* bad : {"machine: pc-q35-10.1\n", "machine: type=pc-i440fx-9.2.1+pve1,viommu=intel\n",
                          "cpu: custom-faster\n", "cpu: cputype=custom-other,flags=+aes\n",
                          "net12: virtio=aa:bb:cc:dd:ee:ff,bridge=vmbr1,tag=3\n", "lock: backup\n"}) {
    CAPTURE(bad);
    CHECK(findings(bad).size() == 1);
  }
  // Two disks of 40 MiB, and a margin.
  CHECK(findings("", 50 << 20).empty());
  CHECK(findings("", 41 << 20).size() == 1);
}

TEST_CASE("options that contradict a migration are refused") {
  const auto refused = [](const auto& change) {
    PlanStage stage;
    MigrateOptions options;
    change(stage.options, options);
    try {
      (void)parse_options(stage.options, options);
    } catch (const Error& error) {
      return error.code() == ErrorCode::usage;
    }
    return false;
  };
  CHECK_FALSE(refused([](MirrorOptions&, MigrateOptions&) {}));
  CHECK(refused([](MirrorOptions& mirror, MigrateOptions&) { mirror.keep_destination_lock = true; }));
  CHECK(refused([](MirrorOptions& mirror, MigrateOptions&) { mirror.no_lock = true; }));
  CHECK(refused([](MirrorOptions& mirror, MigrateOptions&) { mirror.reseed = true; }));
  CHECK(refused([](MirrorOptions& mirror, MigrateOptions&) { mirror.vmid = "all"; }));
  CHECK(refused([](MirrorOptions& mirror, MigrateOptions&) { mirror.tag = "x"; }));
  CHECK(refused([](MirrorOptions&, MigrateOptions& options) { options.precopy_rounds = "0"; }));
  CHECK(refused([](MirrorOptions&, MigrateOptions& options) { options.precopy_threshold = "little"; }));
  CHECK(refused([](MirrorOptions&, MigrateOptions& options) { options.shutdown_timeout = "0s"; }));
  CHECK(refused([](MirrorOptions&, MigrateOptions& options) { options.no_start = options.ha = true; }));
}
