#include "model/ceph_caps.hpp"

#include <doctest/doctest.h>

#include <string>
#include <tuple>
#include <vector>

#include "crossover/error.hpp"

using namespace crossover;

TEST_CASE("what a destination's user needs, a clause a pool") {
  CHECK(destination_caps({"data", "ec.data-1_x"}) ==
        CephCaps{{"mon", "profile rbd"}, {"osd", "profile rbd pool=data, profile rbd pool=ec.data-1_x"}});
  for (const std::string pool : {"", "a b", "a,allow *", "a'", "a\""}) {
    CAPTURE(pool);
    CHECK_THROWS_AS(destination_caps({pool}), Error);
  }
}

TEST_CASE("what a user lacks is named clause by clause") {
  const CephCaps wanted = destination_caps({"a", "b"});
  using Missing = std::map<std::string, std::vector<std::string>>;
  const std::tuple<CephCaps, Missing> rows[] = {
      {wanted, {}},
      {{{"mon", "allow *"}, {"osd", "allow *"}}, {}},
      {{{"mon", "profile rbd"}, {"osd", "profile rbd"}}, {}},
      {{{"mon", " profile  rbd "}, {"osd", "profile rbd pool=\"b\";profile rbd pool a,allow r"}}, {}},
      {{{"mgr", "allow *"}, {"mon", "profile rbd"}, {"osd", "profile rbd pool=b"}},
       {{"osd", {"profile rbd pool=a"}}}},
      // One that only reads, and one of another pool whose name begins the same.
      {{{"mon", "profile rbd-read-only"}, {"osd", "profile rbd-read-only pool=a, profile rbd pool=bb"}},
       {{"mon", {"profile rbd"}}, {"osd", {"profile rbd pool=a", "profile rbd pool=b"}}}},
      {{}, {{"mon", {"profile rbd"}}, {"osd", {"profile rbd pool=a", "profile rbd pool=b"}}}},
      // Within quotes a comma is no comma.
      {{{"mon", "allow command \"x, profile rbd\""}, {"osd", "allow *"}}, {{"mon", {"profile rbd"}}}},
  };
  for (const auto& [have, missing] : rows) {
    CAPTURE(have.size());
    CHECK(missing_caps(have, wanted) == missing);
    CHECK(missing_caps(widened_caps(have, wanted), wanted).empty());
  }
}

TEST_CASE("the command that widens a user keeps what it has") {
  const CephCaps have{{"mds", "allow rw"}, {"mon", "profile rbd"}, {"osd", "allow r pool='x'"}};
  CHECK(caps_command("crossover", widened_caps(have, destination_caps({"a"}))) ==
        "ceph auth caps client.crossover mds 'allow rw' mon 'profile rbd' "
        "osd 'allow r pool='\\''x'\\'', profile rbd pool=a'");
}

TEST_CASE("names of users") {
  for (const char* name : {"crossover", "a", "site.a-1_x"}) CHECK(is_ceph_user_name(name));
  for (const char* name : {"", ".a", "a.", "-a", "a b", "a/b", "../a", "a\"", "a\n", "a$", "caf\xc3\xa9"}) {
    CAPTURE(name);
    CHECK_FALSE(is_ceph_user_name(name));
  }
  CHECK_FALSE(is_ceph_user_name(std::string(65, 'a')));
}
