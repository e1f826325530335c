#include "image_spec.hpp"

#include <doctest/doctest.h>

using namespace crossover;
using namespace crossover::cli;

TEST_CASE("image specs") {
  CHECK(parse_snapshot_spec("disk") == SnapshotSpec{{"", "", "disk"}, ""});
  CHECK(parse_snapshot_spec("disk@one") == SnapshotSpec{{"", "", "disk"}, "one"});
  CHECK(parse_snapshot_spec("data/disk") == SnapshotSpec{{"data", "", "disk"}, ""});
  CHECK(parse_snapshot_spec("data/tenant/disk@one") == SnapshotSpec{{"data", "tenant", "disk"}, "one"});
  CHECK(parse_snapshot_spec("p@ol/disk@one") == SnapshotSpec{{"p@ol", "", "disk"}, "one"});
}

TEST_CASE("what is no image spec") {
  for (const char* text : {"", "@", "disk@", "@one", "/disk", "data/", "data//disk", "data/tenant/", "a/b/c/d",
                           "data/te@nant/disk", "disk@one@two"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_snapshot_spec(text));
  }
}
