#include "plan/record.hpp"

#include <doctest/doctest.h>

#include "crossover/error.hpp"

using namespace crossover;

namespace {

const SourceIdentity source{"8f1b9d1e-0c6c-4c2c-9a3b-3d5b8f7a1234", 2, "10ab12", 100};

ImageState image_with(const std::string& record) {
  ImageState image;
  image.id = "77ff";
  image.pool_id = 5;
  image.metadata[std::string(record_key)] = record;
  return image;
}

}  // namespace

TEST_CASE("a record comes back as it was written") {
  const ReplicaRecord replica{source,
                              "data/vm-100-disk-0",
                              "Nightly \"ä\"",
                              99100,
                              "77ff",
                              5,
                              ReplicaState::applied,
                              "crossover-nightly-20261123T010203Z",
                              9,
                              "the diff",
                              PointConfig{99100, "\xff\n", std::nullopt, "1", {"data/a"}},
                              {{"mirror-20261120010203", 3, 1, false, true},
                               {"crossover-nightly-20261121T010203Z", 5, 2, true},
                               {"crossover-nightly-20261122T010203Z", 7, 4}},
                              std::nullopt,
                              ReplacedImage{{"data", "ns", "vm-99100-disk-0-ssd"}, "66ee"}};
  const SourceRecord as_source{{"aaaa", 5, "77ff", 99100},
                               {{"nightly", {"Nightly", "bbbb", 1}}, {"default", {"", "c", 2}}}};
  for (const ImageRecord& record : {ImageRecord{replica, std::nullopt}, ImageRecord{std::nullopt, as_source},
                                    ImageRecord{replica, as_source}, ImageRecord{}}) {
    CHECK(image_record(image_with(render_record(record))) == record);
  }
}

TEST_CASE("what a fast diff has to have comes back, too") {
  SourceRecord record{{"aaaa", 5, "77ff", 99100}, {{"nightly", {"Nightly", "bbbb", 1, ""}}}};
  record.jobs["nightly"].older = RollbackTargets{
      12,
      {{7, "crossover-nightly-20261122T010203Z", {}, std::vector<ByteRange>{{0, 4096}, {1ULL << 40, 4096}}},
       {8, "before the update", {3, 262143}, std::nullopt},
       {9, "same", {}, std::vector<ByteRange>{}}}};
  CHECK(image_record(image_with(render_record({std::nullopt, record}))).source == record);
  record.jobs["nightly"].older->targets[1].name = "caf\xe9";
  const auto read = image_record(image_with(render_record({std::nullopt, record}))).source;
  CHECK(read->jobs.at("nightly").older->targets[1].witnesses == std::vector<std::uint64_t>{3, 262143});
}

TEST_CASE("only the record of a promoted replica is one that older readers refuse") {
  ReplicaRecord record;
  record.image_id = "77ff";
  record.pool_id = 5;
  CHECK(render_record({record, std::nullopt}).find("\"version\":1}") != std::string::npos);
  CHECK(render_point({}).find("\"version\":1}") != std::string::npos);
  record.promoted = Promotion{"crossover-nightly-20261122T010203Z",
                              std::chrono::sys_days(std::chrono::year(2026) / 11 / 23) + std::chrono::seconds(7)};
  const std::string written = render_record({record, std::nullopt});
  CHECK(written.find("\"version\":2}") != std::string::npos);
  CHECK(image_record(image_with(written)).replica == record);
}

TEST_CASE("a record that was copied with another image's metadata does not count") {
  ReplicaRecord record;
  record.image_id = "1234";
  record.pool_id = 5;
  CHECK(image_record(image_with(render_record({record, std::nullopt}))) == ImageRecord{});
  record.image_id = "77ff";
  record.pool_id = 6;
  CHECK(image_record(image_with(render_record({record, std::nullopt}))) == ImageRecord{});
  CHECK(image_record(image_with(render_record({std::nullopt, SourceRecord{source, {}}}))) == ImageRecord{});
}

TEST_CASE("a point's configuration keeps every byte") {
  for (const std::size_t length : {0U, 1U, 2U, 3U, 4U, 255U}) {
    std::string bytes;
    for (std::size_t i = 0; i < length; ++i) bytes.push_back(static_cast<char>(255 - i));
    const PointConfig point{99100, bytes, bytes, "1", {"data/a", "data/ns/b"}};
    CHECK(parse_point(render_point(point)) == point);
  }
}

TEST_CASE("a record that cannot be read is never taken for none") {
  for (const char* broken :
       {"", "{", "[]", "{}", "{\"version\":1,\"replica\":{}}", "{\"version\":1,\"source\":7}"}) {
    CAPTURE(broken);
    CHECK_THROWS_AS((void)image_record(image_with(broken)), Error);
  }
  try {
    (void)image_record(image_with("{\"version\":3}"));
    FAIL("a newer version was accepted");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::unsupported);
  }
  CHECK(image_record(ImageState{}) == ImageRecord{});
}
