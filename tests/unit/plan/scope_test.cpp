// Which guests a request means, and where they go.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>

#include "crossover/error.hpp"
#include "plan/mirror_plan.hpp"
#include "unit/plan/plan_stage.hpp"

using namespace crossover;
using test::scope_both;

namespace {

struct Stage {
  Stage() {
    options.vmid = "all";
    options.prefix_id = "99";
    options.destination = "w1";
    options.pool = "copy";
    source.entry_node = "e1";
    source.storages =
        parse_storage_config("rbd: data\n\tpool data\n\nrbd: x-yy\n\tpool more\n\nrbd: yy\n\tpool more\n");
    destination.entry_node = "w1";
    destination.storages = parse_storage_config(
        "rbd: copy\n\tpool backup\n\tnamespace n\n\nrbd: off\n\tpool backup\n\tdisable\n\n"
        "rbd: there\n\tpool backup\n\tnodes w2,w3\n\ndir: files\n\tpath /srv\n");
    add(100, "name: a\ntags: prod;web\n");
    add(101, "name: b\ntags: nonprod\n");
    add(102, "tags: PROD,db\n");
    add(9000, "name: t\ntemplate: 1\ntags: prod\n");
    source.containers[500] = "e2";
  }

  void add(std::uint32_t vmid, const std::string& lines) {
    source.guests[vmid] = {.vmid = vmid,
                           .node = "e1",
                           .config = lines + fmt::format("scsi0: data:vm-{}-disk-0\n", vmid),
                           .firewall = {},
                           .power = Power::stopped};
  }

  std::vector<GuestScope> scopes() const { return scope_both(parse_options(options), source, destination); }

  /// "100>99100 102>99102"
  std::string text() const {
    std::string text;
    for (const GuestScope& scope : scopes()) {
      text += fmt::format("{}{}>{}", text.empty() ? "" : " ", scope.vmid, scope.target_vmid);
    }
    return text;
  }

  void check_refused(ErrorCode code, const std::vector<std::string>& words) const {
    try {
      (void)scopes();
      FAIL("it was accepted");
    } catch (const Error& error) {
      CHECK(error.code() == code);
      const std::string said = error.what();
      CAPTURE(said);
      for (const std::string& word : words) CHECK_MESSAGE(said.find(word) != std::string::npos, word);
    }
  }

  MirrorOptions options;
  ClusterInventory source;
  ClusterInventory destination;
};

}  // namespace

TEST_CASE("guests that are meant") {
  struct Case {
    const char* vmid;
    const char* exclude;
    const char* tag;
    const char* prefix;
    const char* expected;
  };
  const Case cases[] = {
      {"all", "", "", "99", "100>99100 101>99101 102>99102"},
      {"all", "101", "", "99", "100>99100 102>99102"},
      {"all", "1100,10,100000", "", "", "100>100 101>101 102>102"},
      {"all", "", "prod", "", "100>100 102>102"},
      {"", "", "prod", "", "100>100 102>102"},
      {"", "100", "PROD", "", "102>102"},
      {"all", "", "pro", "", ""},
      {"100", "", "", "", "100>100"},
      {"102,100", "", "", "9", "100>9100 102>9102"},
      {"100:300", "", "", "99", "100>300"},
      {"all,100:300", "", "", "99", "100>300 101>99101 102>99102"},
      {"101,102", "", "prod", "", "102>102"},
      {"9000", "", "", "", "9000>9000"},
      {"all,9000", "", "", "", "100>100 101>101 102>102 9000>9000"},
      {"100,777", "777", "", "", "100>100"},
      {"100", "100", "", "", ""},
  };
  for (const Case& one : cases) {
    CAPTURE(one.vmid);
    CAPTURE(one.exclude);
    CAPTURE(one.tag);
    Stage stage;
    stage.options.vmid = one.vmid;
    // 10 is no VMID; what is excluded is checked as such.
    stage.options.exclude_vmids = one.exclude == std::string("1100,10,100000") ? "1100,100000" : one.exclude;
    stage.options.tag = one.tag;
    stage.options.prefix_id = one.prefix;
    CHECK(stage.text() == one.expected);
  }
}

TEST_CASE("guests that are named, on both sides") {
  using Vmids = std::optional<std::set<std::uint32_t>>;
  MirrorOptions options;
  options.destination = "w1";
  options.pool = "copy";
  options.prefix_id = "99";
  const auto named = [&options](const std::string& vmid, const std::string& exclude = "") {
    options.vmid = vmid;
    options.exclude_vmids = exclude;
    return named_guests(parse_options(options));
  };
  CHECK(named("100,101:500").sources == Vmids({100, 101}));
  CHECK(named("100,101:500").targets == Vmids({99100, 500}));
  CHECK(named("100,101", "101").sources == Vmids({100}));
  CHECK(named("100", "100").targets == Vmids(std::set<std::uint32_t>{}));
  CHECK(named("all").sources == Vmids());
  CHECK(named("all,100").targets == Vmids());
  options.tag = "prod";
  CHECK(named("").sources == Vmids());
  CHECK(named("100").sources == Vmids({100}));
}

TEST_CASE("a guest's scope") {
  Stage stage;
  stage.options.vmid = "all,100";
  const auto scopes = stage.scopes();
  REQUIRE(scopes.size() == 3);
  CHECK(scopes[0].by_name);
  CHECK_FALSE(scopes[1].by_name);
  CHECK(scopes[0].name == "a");
  CHECK(scopes[2].name == "VM 102");
  REQUIRE(scopes[0].replicas.size() == 1);
  CHECK(to_string(scopes[0].replicas[0].spec) == "backup/n/vm-99100-disk-0-data");
  CHECK(scopes[0].volumes == std::vector<std::string>{"copy:vm-99100-disk-0-data"});
  CHECK(scopes[0].target_images.empty());
}

TEST_CASE("images the target's configuration names are looked at as well, those without backup too") {
  Stage stage;
  stage.options.vmid = "100";
  stage.destination.guests[99100] = {.vmid = 99100,
                                     .node = "w1",
                                     .config =
                                         "scsi0: copy:vm-99100-disk-7,backup=0\nscsi1: files:1/x.raw\n"
                                         "unused0: copy:vm-99100-disk-8\n",
                                     .firewall = {},
                                     .power = Power::stopped};
  const auto scopes = stage.scopes();
  REQUIRE(scopes[0].target_images.size() == 1);
  CHECK(to_string(scopes[0].target_images[0].spec) == "backup/n/vm-99100-disk-7");
}

TEST_CASE("what cannot be carried out at all") {
  Stage stage;
  SUBCASE("a VMID nobody has") {
    stage.options.vmid = "100,777";
    stage.check_refused(ErrorCode::not_found, {"VM 777", "qm list"});
  }
  SUBCASE("a container") {
    stage.options.vmid = "500";
    stage.check_refused(ErrorCode::unsupported, {"VM 500", "container", "e2"});
  }
  SUBCASE("no such storage") {
    stage.options.pool = "nowhere";
    stage.check_refused(ErrorCode::not_found, {"nowhere", "--pool", "copy"});
  }
  SUBCASE("no RBD storage at all") {
    stage.destination.storages = parse_storage_config("");
    stage.check_refused(ErrorCode::not_found, {"copy", "none"});
  }
  SUBCASE("a storage of another type") {
    stage.options.pool = "files";
    stage.check_refused(ErrorCode::usage, {"files", "type dir"});
  }
  SUBCASE("a storage that is disabled") {
    stage.options.pool = "off";
    stage.check_refused(ErrorCode::usage, {"off", "w1", "disabled"});
  }
  SUBCASE("a storage of other nodes") {
    stage.options.pool = "there";
    stage.check_refused(ErrorCode::usage, {"there", "w1"});
  }
  SUBCASE("two guests for one target") {
    stage.options.vmid = "all,100:99101";
    stage.check_refused(ErrorCode::usage, {"100", "101", "99101"});
  }
  SUBCASE("a prefix that is too long for one of them") {
    stage.options.prefix_id = "999999";
    stage.options.vmid = "100,9000";
    stage.check_refused(ErrorCode::usage, {"999999", "9000"});
  }
}

TEST_CASE("two disks that would become one image") {
  Stage stage;
  stage.source.guests.at(100).config = "scsi0: x-yy:vm-100-disk-0\nscsi1: yy:vm-100-disk-0-x\n";
  auto scopes = stage.scopes();
  REQUIRE(scopes[0].problem);
  CHECK(scopes[0].problem->code == ErrorCode::conflict);
  CHECK(scopes[0].problem->text.find("backup/n/vm-99100-disk-0-x-yy") != std::string::npos);
  CHECK_FALSE(scopes[1].problem);

  stage.source.guests.at(100).config = "scsi0: data:vm-100-disk-0\nscsi1: data:vm-100-disk-0\n";
  scopes = stage.scopes();
  CHECK(scopes[0].problem);
}
