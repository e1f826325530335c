#include "crossover/snapshot_name.hpp"

#include <doctest/doctest.h>

#include <random>

#include "crossover/error.hpp"

namespace {

using namespace crossover;
using namespace std::chrono_literals;
using std::chrono::sys_days;

constexpr std::chrono::sys_seconds moment = sys_days(2026y / 11 / 23) + 2h + 4min + 59s;

}  // namespace

TEST_CASE("names are written and read back") {
  CHECK(to_string(SnapshotName{"default", moment}) == "crossover-default-20261123T020459Z");
  CHECK(to_string(SnapshotName{"nightly2", sys_days(1970y / 1 / 1)}) == "crossover-nightly2-19700101T000000Z");
  CHECK(to_string(SnapshotName{"abcdefghijklm", moment}).size() == 40);  // PVE's limit
  CHECK(parse_snapshot_name("crossover-default-20261123T020459Z") == SnapshotName{"default", moment});
  CHECK(parse_snapshot_name("crossover-other-20240229T235959Z") ==
        SnapshotName{"other", sys_days(2024y / 2 / 29) + 23h + 59min + 59s});

  std::mt19937_64 random(7);
  for (int round = 0; round < 1000; ++round) {
    const std::chrono::sys_seconds time(std::chrono::seconds(random() % 253402300800U));
    const SnapshotName name{normalize_job(std::to_string(random())), time};
    REQUIRE(parse_snapshot_name(to_string(name)) == name);
  }
}

TEST_CASE("a name that is not completely ours is not ours") {
  for (const char* name : {"",
                           "crossover",
                           "crossover-",
                           "crossover-before-upgrade",
                           "crossover-default",
                           "crossover-default-",
                           "crossover-default-20261123T020459",
                           "crossover-default-20261123T020459z",
                           "crossover-default-20261123t020459Z",
                           "crossover-default-20261123T020459Z ",
                           " crossover-default-20261123T020459Z",
                           "crossover-default-20261123T020459Zx",
                           "crossover-default-2026112aT020459Z",
                           "crossover--20261123T020459Z",
                           "crossover-20261123T020459Z",
                           "crossover-Default-20261123T020459Z",
                           "crossover-a_b-20261123T020459Z",
                           "crossover-a-b-20261123T020459Z",
                           "crossover-abcdefghijklmn-20261123T020459Z",
                           "crossover-default-20260229T020459Z",
                           "crossover-default-20261323T020459Z",
                           "crossover-default-20261100T020459Z",
                           "crossover-default-20260431T020459Z",
                           "crossover-default-20261123T240000Z",
                           "crossover-default-20261123T026000Z",
                           "crossover-default-20261123T020460Z",
                           "crossover-default-00000101T000000Z",
                           "crossover-default-19691231T235959Z",
                           "xcrossover-default-20261123T020459Z",
                           "crossover-default-+0261123T020459Z",
                           "mirror-20221101192144",
                           "mirror-default-20261123T020459Z",
                           "crossover-20221101192144"}) {
    CAPTURE(name);
    CHECK_FALSE(parse_snapshot_name(name).has_value());
  }
}

TEST_CASE("jobs in their normal form") {
  CHECK(normalize_job("") == "default");
  CHECK(normalize_job("Nightly (DC 2)") == "nightlydc2");
  CHECK(normalize_job("_-. ") == "default");
  CHECK(normalize_job("\xc3\xa4") == "default");
  CHECK(normalize_job("The-Quick-Brown-Fox-Jumps") == "thequickbrown");
  CHECK(normalize_job(normalize_job("The-Quick-Brown-Fox-Jumps")) == "thequickbrown");
}

TEST_CASE("what cannot be written is refused") {
  CHECK_THROWS_AS(static_cast<void>(to_string(SnapshotName{"Bad", moment})), Error);
  CHECK_THROWS_AS(static_cast<void>(to_string(SnapshotName{"", moment})), Error);
  CHECK_THROWS_AS(static_cast<void>(to_string(SnapshotName{"a", sys_days(1969y / 12 / 31)})), Error);
  CHECK_THROWS_AS(static_cast<void>(to_string(SnapshotName{"a", sys_days(10000y / 1 / 1)})), Error);
}

TEST_CASE("the shell tool's names are read only where they are asked for") {
  CHECK(parse_shell_tool_snapshot_name("mirror-20221101192144") ==
        std::chrono::local_days(2022y / 11 / 1) + 19h + 21min + 44s);
  for (const char* name :
       {"mirror-2022110119214", "mirror-202211011921444", "mirror-20221301192144", "mirror-20221101192160",
        "mirror-before-upgrad", "crossover-default-20261123T020459Z", ""}) {
    CAPTURE(name);
    CHECK_FALSE(parse_shell_tool_snapshot_name(name).has_value());
  }
}
