// What a migration writes down, its fence, and what stands in its way.
#include <fmt/format.h>

#include "crossover/error.hpp"
#include "plan/migration_check.hpp"
#include "plan/migration_record.hpp"
#include "plan/migration_steps.hpp"
#include "plan/saved_state.hpp"
#include "plan_stage.hpp"

using namespace crossover;
using namespace crossover::test;

TEST_CASE("a migration's record reads as it was written, and only on its own image") {
  MigrationRecord record;
  record.id = "0123";
  record.run = "4567";
  record.sequence = 1ULL << 40;
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
    record.suspends = step != MigrationStep::switching;
    record.source_state = record.suspends ? "ssd:vm-100-state-suspend-2026-11-23" : "";
    record.target_state = step == MigrationStep::starting ? "copy:vm-99100-state-suspend-2026-11-23" : "";
    image.metadata[std::string(migration_key)] = render_migration(record);
    CHECK(migration_record(image) == record);
  }
  image.id = "copy";
  CHECK_FALSE(migration_record(image));
  image.metadata[std::string(migration_key)] = R"({"version":4})";
  CHECK_THROWS_AS(migration_record(image), Error);
  for (const char* text : {"", "{", "[]", R"({"version":3})", R"({"version":3,"step":"x"})"}) {
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

TEST_CASE("a migration that an earlier build began is refused") {
  ImageState image = PlanStage::image("abc", 7, 4096);
  for (const char* version : {"1", "2"}) {
    image.metadata[std::string(migration_key)] = fmt::format(
        R"({{"version":{},"image_id":"abc","pool_id":7,"job":"j","destination_fsid":"f","target_vmid":9,)"
        R"("step":"fenced","was_running":true,"ha_state":"","point":""}})",
        version);
    try {
      (void)migration_record(image);
      FAIL("it was taken");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::unsupported);
      CHECK(error.cause().find("earlier build") != std::string::npos);
      CHECK(error.cause().find("image-meta remove") != std::string::npos);
    }
  }
}

TEST_CASE("a saved state goes into a configuration and out of it without a trace") {
  const SavedState state{"ssd:vm-100-state-suspend-2026-11-23",
                         {{"runningmachine", "pc-i440fx-10.1+pve0"},
                          {"runningcpu", "kvm64,enforce"},
                          {"running-nets-host-mtu", "net0=1500"}}};
  for (const char* config : {"memory: 512\nonboot: 1\nname: x\n", "", "memory: 512\r\n",
                             "args: -x\n\n[old]\nvmstate: ssd:vm-100-state-old\nrunningcpu: host\n"}) {
    CAPTURE(config);
    CHECK_FALSE(saved_state(config));
    const std::string suspended = with_saved_state(config, state);
    CHECK(saved_state(suspended) == state);
    CHECK(parse_vm_config(suspended).get("lock") == "suspended");
    CHECK(with_saved_state(suspended, state) == suspended);
    const auto onboot = parse_vm_config(config).get("onboot");
    CHECK(without_fence(without_saved_state(suspended), onboot) == config);
    // The fence takes the place of PVE's lock, and what a start needs stays.
    const std::string fenced = with_fence(suspended);
    CHECK(is_fenced(fenced));
    CHECK(saved_state(fenced) == state);
    CHECK(is_fenced(without_saved_state(fenced)));
  }
}

TEST_CASE("volumes of a saved state: how large they are, and what they are called over there") {
  for (const auto& [line, mib] : {std::pair("memory: 2048\n", 4596U), std::pair("", 1524U),
                                  std::pair("memory: current=4096\n", 8692U), std::pair("memory: x\n", 1524U)}) {
    CAPTURE(line);
    CHECK(state_volume_bytes(parse_vm_config(line)) == std::uint64_t{mib} << 20);
  }
  CHECK(state_image_name("ssd:vm-100-state-suspend-2026-11-23", 99100) == "vm-99100-state-suspend-2026-11-23");
  const PlanStage stage;
  const ImageRef image = image_of_volume("ssd:vm-100-state-suspend-2026-11-23", stage.inventory.source);
  CHECK(to_string(image.spec) == "fast/vm-100-state-suspend-2026-11-23");
  for (const char* volume : {"gone:vm-100-disk-0", "local:vm-100-disk-0", "vm-100-disk-0"}) {
    CAPTURE(volume);
    CHECK_THROWS_AS((void)image_of_volume(volume, stage.inventory.source), Error);
  }
}

TEST_CASE("what a guest that is suspended needs besides") {
  struct Site {
    std::string lines;
    std::string qemu_here = "10.1.2";
    std::string qemu_there = "10.1.2";
    std::string processor_here = "EPYC 9654";
    std::string processor_there = "EPYC 9654";
    FreeSpace free;
    Power power = Power::running;
    std::string mode = "suspend";
    bool keep_host_devices = false;
  };
  const auto findings = [](const Site& site) {
    PlanStage stage;
    stage.put_source(stage.config + site.lines);
    stage.inventory.source.guests.at(100).power = site.power;
    stage.options.keep_host_devices = site.keep_host_devices;
    NodeState& here = stage.inventory.source.nodes.at(stage.inventory.source.guests.at(100).node);
    NodeState& there = stage.inventory.destination.nodes.at("w1");
    here.qemu_version = site.qemu_here;
    here.processor = site.processor_here;
    there.qemu_version = site.qemu_there;
    there.processor = site.processor_there;
    stage.inventory.destination.cpu_models = {"fast"};
    stage.inventory.destination.device_mappings = {{"directory/share", {"w1"}}};
    MigrateOptions options;
    options.mode = site.mode;
    const MigrateRequest request = parse_options(stage.options, options);
    const auto scopes = scope_both(request.mirror, stage.inventory.source, stage.inventory.destination);
    return migration_findings(request, stage.inventory, scopes.at(0), stage.plan(), site.free);
  };
  constexpr std::uint64_t much = std::uint64_t{1} << 40;
  CHECK(findings({}).empty());
  CHECK(findings({.free = {.target = much, .source = much}}).empty());
  CHECK(findings({.qemu_here = "9.2.0"}).empty());
  CHECK(findings({.lines = "cpu: host\n"}).empty());
  CHECK(findings({.lines = "cpu: x86-64-v2-AES\n", .processor_there = "Xeon"}).empty());
  CHECK(findings({.lines = "usb0: host=1234:5678\n", .keep_host_devices = true}).empty());
  const std::vector<Site> bad{{.qemu_there = "10.1.1"},
                              {.qemu_there = ""},
                              {.lines = "cpu: host\n", .processor_there = "Xeon"},
                              {.lines = "cpu: host,flags=+aes\n", .processor_here = "", .processor_there = ""},
                              {.lines = "cpu: cputype=custom-fast\n", .processor_there = "Xeon"},
                              {.lines = "hostpci0: 0000:01:00.0\n", .keep_host_devices = true},
                              {.lines = "virtiofs0: share\n", .keep_host_devices = true},
                              {.lines = "amd-sev: type=std\n"},
                              {.lines = "\n[PENDING]\nmemory: 1024\n"},
                              {.free = {.target = 1U << 30, .source = much}},
                              {.free = {.target = much, .source = 1U << 30}}};
  for (std::size_t i = 0; i < bad.size(); ++i) {
    CAPTURE(i);
    const auto found = findings(bad[i]);
    CHECK_MESSAGE(found.size() == 1, found.size());
    // One that is off has no memory, and one that is shut down takes none along.
    Site off = bad[i];
    off.power = Power::stopped;
    // What waits for its next start is lost with it, too.
    CHECK(findings(off).size() == (off.lines.find("[PENDING]") == std::string::npos ? 0 : 1));
    Site shut = bad[i];
    shut.mode = "shutdown";
    CHECK(findings(shut).empty());
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
    const auto scopes = scope_both(request.mirror, stage.inventory.source, stage.inventory.destination);
    const GuestPlan plan = stage.plan();
    return migration_findings(request, stage.inventory, scopes.at(0), plan, {.target = free, .source = {}});
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

TEST_CASE("high availability that would not let go, or is at something, is found before") {
  struct Case {
    std::string state, status, disarmed, there;
    bool ha = false;
    std::string said;
  };
  for (const Case& one : {Case{"", "", "", "", false, ""}, Case{"started", "started", "", "", false, ""},
                          Case{"started", "freeze", "freeze", "", false, "disarmed (freeze)"},
                          Case{"started", "", "ignore", "", false, ""}, Case{"ignored", "", "freeze", "", false, ""},
                          Case{"started", "error", "", "", false, "'error'"},
                          Case{"started", "migrate", "", "", false, "'migrate'"},
                          Case{"", "", "", "freeze", false, ""}, Case{"", "", "", "freeze", true, "leave --ha out"},
                          Case{"", "", "", "ignore", true, ""}}) {
    CAPTURE(one.state);
    CAPTURE(one.status);
    CAPTURE(one.disarmed);
    PlanStage stage;
    GuestState& guest = stage.inventory.source.guests.at(100);
    guest.ha_state = one.state;
    guest.ha_status = one.status;
    stage.inventory.source.ha_disarmed = one.disarmed;
    stage.inventory.destination.ha_disarmed = one.there;
    MigrateOptions options;
    options.ha = one.ha;
    const MigrateRequest request = parse_options(stage.options, options);
    const auto scopes = scope_both(request.mirror, stage.inventory.source, stage.inventory.destination);
    const auto found = migration_findings(request, stage.inventory, scopes.at(0), stage.plan(), {});
    CHECK(found.size() == (one.said.empty() ? 0 : 1));
    if (!one.said.empty() && !found.empty()) CHECK_MESSAGE(found[0].find(one.said) != std::string::npos, found[0]);
  }
}

TEST_CASE("what a migration will do is said in order") {
  GuestPlan plan;
  plan.vmid = 100;
  plan.target_vmid = 99100;
  plan.source_node = "e1";
  plan.target_node = "w1";
  MigrateRequest request;
  request.precopy_rounds = 4;
  request.shutdown_timeout = std::chrono::seconds(60);
  using Lines = std::vector<std::string>;
  const std::string fence = "fence VM 100 on e1 (lock: migrate, onboot: 0)";
  SUBCASE("it runs") {
    plan.running = true;
    request.options.force_stop = true;
    request.options.ha = true;
    CHECK(migration_steps(request, plan, "started", "") ==
          Lines{"do so again, up to 4 times in all, until little is left",
                "take VM 100 out of high availability's hands (ignored)",
                "shut VM 100 down, within 60 s, or end it", fence, "send what is left to VM 99100",
                "make VM 99100 on w1 the guest and start it", "give VM 99100 to high availability"});
  }
  SUBCASE("it is suspended") {
    plan.running = true;
    request.suspend = true;
    CHECK(migration_steps(request, plan, "ignored", "ssd") ==
          Lines{"do so again, up to 4 times in all, until little is left", "suspend VM 100 to disk, on ssd", fence,
                "send what is left, and its memory, to VM 99100",
                "make VM 99100 on w1 the guest and let it go on"});
  }
  SUBCASE("it is off, and stays so") {
    request.suspend = true;
    request.options.no_start = true;
    CHECK(migration_steps(request, plan, "", "") ==
          Lines{fence, "send what is left to VM 99100", "make VM 99100 on w1 the guest"});
  }
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
  CHECK(refused([](MirrorOptions& mirror, MigrateOptions&) { mirror.allow_left_out = true; }));
  CHECK(refused([](MirrorOptions& mirror, MigrateOptions&) { mirror.no_lock = true; }));
  CHECK(refused([](MirrorOptions& mirror, MigrateOptions&) { mirror.reseed = true; }));
  CHECK(refused([](MirrorOptions& mirror, MigrateOptions&) { mirror.vmid = "all"; }));
  CHECK(refused([](MirrorOptions& mirror, MigrateOptions&) { mirror.tag = "x"; }));
  CHECK(refused([](MirrorOptions&, MigrateOptions& options) { options.precopy_rounds = "0"; }));
  CHECK(refused([](MirrorOptions&, MigrateOptions& options) { options.precopy_threshold = "little"; }));
  CHECK(refused([](MirrorOptions&, MigrateOptions& options) { options.shutdown_timeout = "0s"; }));
  CHECK(refused([](MirrorOptions&, MigrateOptions& options) { options.no_start = options.ha = true; }));
  CHECK(refused([](MirrorOptions&, MigrateOptions& options) { options.mode = "stop"; }));
  CHECK(refused([](MirrorOptions&, MigrateOptions& options) { options.mode = ""; }));
  const auto suspend = [](MigrateOptions& options) { options.mode = "suspend"; };
  CHECK_FALSE(refused([&](MirrorOptions&, MigrateOptions& options) { suspend(options); }));
  CHECK(refused([&](MirrorOptions&, MigrateOptions& options) {
    suspend(options);
    options.shutdown_timeout = "90s";
  }));
  CHECK(refused([&](MirrorOptions&, MigrateOptions& options) {
    suspend(options);
    options.force_stop = true;
  }));
  CHECK(refused([&](MirrorOptions&, MigrateOptions& options) {
    suspend(options);
    options.no_start = true;
  }));
}

TEST_CASE("what the records on a guest's disks say together") {
  const auto on = [](const char* disk, MigrationRecord record) {
    return FoundMigration{{"fast", "", disk}, std::move(record)};
  };
  const auto record = [](const char* id, std::uint64_t sequence, MigrationStep step, const char* run = "r") {
    MigrationRecord made;
    made.id = id;
    made.run = run;
    made.sequence = sequence;
    made.step = step;
    return made;
  };
  using enum MigrationStep;
  const auto said = [](const std::vector<FoundMigration>& found, bool is_fenced = true) {
    return agreed_migration(found, is_fenced);
  };
  CHECK_FALSE(said({}));
  // A step that was written on one disk only is the one that was to come next.
  CHECK(said({on("a", record("m", 2, fenced)), on("b", record("m", 3, starting))})->step == starting);
  CHECK(said({on("a", record("m", 4, switching)), on("b", record("m", 3, starting))})->step == switching);
  CHECK(said({on("b", record("m", 3, starting))})->step == starting);
  // One that is through, and was taken back by hand, is none; what lags behind it is none either.
  CHECK(said({on("a", record("m", 4, done)), on("b", record("m", 3, starting))})->step == done);
  CHECK_FALSE(said({on("a", record("m", 4, done)), on("b", record("m", 3, starting))}, false));
  CHECK(said({on("a", record("m", 4, done)), on("b", record("n", 1, switching))}, false)->id == "n");
  // Two migrations, and two runs that wrote the same number.
  for (const auto& found : {std::vector{on("a", record("m", 4, done)), on("b", record("n", 1, switching))},
                            std::vector{on("a", record("m", 2, fenced, "r")), on("b", record("m", 2, fenced, "s"))},
                            std::vector{on("a", record("m", 2, fenced)), on("b", record("n", 2, fenced))}}) {
    try {
      (void)said(found);
      FAIL("no conflict");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::conflict);
      CHECK(error.cause().find("fast/a of m") != std::string::npos);
      CHECK(error.cause().find("fast/b of ") != std::string::npos);
    }
  }
  // Which was overtaken.
  CHECK(said({on("a", record("m", 2, fenced, "r")), on("b", record("m", 2, fenced, "s")),
              on("c", record("m", 3, fenced, "s"))})
            ->run == "s");
}
