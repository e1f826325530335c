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

TEST_CASE("names that hold what parts them are read as rbd reads them") {
  CHECK(parse_snapshot_spec("a/b/c/d") == SnapshotSpec{{"a", "b", "c/d"}, ""});
  CHECK(parse_snapshot_spec("/disk@one") == SnapshotSpec{{"", "", "/disk"}, "one"});
  CHECK(parse_snapshot_spec("data//disk@one") == SnapshotSpec{{"data", "", "/disk"}, "one"});
  CHECK(parse_snapshot_spec("data/") == SnapshotSpec{{"", "", "data/"}, ""});
  CHECK(parse_snapshot_spec("data/tenant/") == SnapshotSpec{{"data", "", "tenant/"}, ""});
  CHECK(parse_snapshot_spec("data/te@nant/disk") == SnapshotSpec{{"data", "", "te"}, "nant/disk"});
  CHECK(parse_snapshot_spec("disk@one@two") == SnapshotSpec{{"", "", "disk"}, "one@two"});
}

TEST_CASE("what is no image spec") {
  for (const char* text : {"", "@", "disk@", "@one", "data/disk@", "data/tenant/disk@"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_snapshot_spec(text));
  }
}
