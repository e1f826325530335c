#include "plan/record.hpp"

#include <doctest/doctest.h>

#include "crossover/error.hpp"
#include "support/records.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

const SourceIdentity source{"8f1b9d1e-0c6c-4c2c-9a3b-3d5b8f7a1234", 2, "10ab12", 100};

ImageState image_with(const std::map<std::string, std::string>& metadata) {
  ImageState image;
  image.id = "77ff";
  image.pool_id = 5;
  image.metadata = metadata;
  return image;
}

ReplicaRecord own_record() {
  ReplicaRecord record;
  record.image_id = "77ff";
  record.pool_id = 5;
  return record;
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
                              ImageIdentity{{"data", "ns", "vm-99100-disk-0-ssd"}, "66ee"},
                              Promotion{"crossover-nightly-20261119T010203Z", {}, true}};
  const SourceRecord as_source{{"aaaa", 5, "77ff", 99100},
                               {{"nightly", {"Nightly", "bbbb", 1}}, {"default", {"", "c", 2}}}};
  for (const ImageRecord& record : {ImageRecord{replica, std::nullopt}, ImageRecord{std::nullopt, as_source},
                                    ImageRecord{replica, as_source}, ImageRecord{}}) {
    CHECK(image_record(image_with(record_keys(record))) == record);
  }
}

TEST_CASE("what a fast diff has to have comes back, too") {
  SourceRecord record{{"aaaa", 5, "77ff", 99100}, {{"nightly", {"Nightly", "bbbb", 1, ""}}}};
  record.jobs["nightly"].older = RollbackTargets{
      12,
      {{7, "crossover-nightly-20261122T010203Z", {}, std::vector<ByteRange>{{0, 4096}, {1ULL << 40, 4096}}},
       {8, "before the update", {3, 262143}, std::nullopt},
       {9, "same", {}, std::vector<ByteRange>{}}}};
  CHECK(image_record(image_with(record_keys({std::nullopt, record}))).source == record);
  record.jobs["nightly"].older->targets[1].name = "caf\xe9";
  const auto read = image_record(image_with(record_keys({std::nullopt, record}))).source;
  CHECK(read->jobs.at("nightly").older->targets[1].witnesses == std::vector<std::uint64_t>{3, 262143});
}

TEST_CASE("a promotion stands in a key of its own, and decides what the head is") {
  using namespace std::chrono;
  ReplicaRecord record = own_record();
  record.state = ReplicaState::applied;
  record.end_snapshot = "crossover-nightly-20261123T010203Z";
  record.end_source_id = 9;
  record.transfer = "the diff";
  record.point = PointConfig{};
  record.points = {{"crossover-nightly-20261122T010203Z", 7, 4}};
  ImageState image = image_with({{std::string(replica_key), render_replica(record)}});
  image.snapshots = {{.id = 6, .name = record.end_snapshot}};
  const ReplicaRecord before = record;

  const Promotion begun{"crossover-nightly-20261122T010203Z", sys_days(year(2026) / 11 / 23) + seconds(7), false};
  set_promotion(record, begun, image);
  image.metadata[std::string(promotion_key)] = render_promotion(record);
  CHECK(image_record(image).replica == record);
  CHECK(record.state == ReplicaState::applying);
  CHECK(record.end_snapshot == begun.point);
  CHECK(record.end_source_id == 0);
  CHECK(record.transfer.empty());
  CHECK_FALSE(record.point);
  // The point whose commit was cut has its snapshot.
  CHECK(record.points == std::vector<PointIds>{before.points[0], {before.end_snapshot, 9, 6}});

  set_promotion(record, {begun.point, begun.time, true}, image);
  image.metadata[std::string(promotion_key)] = render_promotion(record);
  CHECK(image_record(image).replica == record);
  CHECK(record.state == ReplicaState::complete);

  SUBCASE("without it the record is what it was") {
    image.metadata.erase(std::string(promotion_key));
    CHECK(image_record(image).replica == before);
  }
  SUBCASE("that which the way back ended does not count, and another one does") {
    ReplicaRecord taken_back = before;
    taken_back.taken_back = record.promoted;
    image.metadata[std::string(replica_key)] = render_replica(taken_back);
    CHECK(image_record(image).replica == taken_back);
    record.promoted->time += seconds(1);
    image.metadata[std::string(promotion_key)] = render_promotion(record);
    CHECK(image_record(image).replica->promoted == record.promoted);
  }
  SUBCASE("one that was copied with another image's metadata does not count") {
    record.image_id = "1234";
    image.metadata[std::string(promotion_key)] = render_promotion(record);
    CHECK(image_record(image).replica == before);
  }
  SUBCASE("one that cannot be read is never taken for none") {
    for (const char* broken : {"", "{", "{}", R"({"version":1,"point":"x"})"}) {
      image.metadata[std::string(promotion_key)] = broken;
      CHECK_THROWS_AS((void)image_record(image), Error);
    }
  }
}

TEST_CASE("what each job, the far side and a promotion say is written without the others") {
  ImageRecord record{own_record(), SourceRecord{{"aaaa", 5, "77ff", 99100}, {{"nightly", {"Nightly", "bbbb", 1}}}}};
  std::map<std::string, std::string> keys = record_keys(record);
  // What another job, and the far side of the next run, wrote in the meantime stays.
  keys[source_key("hourly")] = render_source_job(record.source->source, {"hourly", "cccc", 2});
  record.replica->end_snapshot = "crossover-nightly-20261123T010203Z";
  keys[std::string(replica_key)] = render_replica(*record.replica);
  keys[source_key("nightly")] = render_source_job(record.source->source, {"Nightly", "bbbb", 3});
  const ImageRecord read = image_record(image_with(keys));
  CHECK(read.replica == record.replica);
  CHECK(read.source->jobs == std::map<std::string, SourceJob>{{"nightly", {"Nightly", "bbbb", 3}},
                                                              {"hourly", {"hourly", "cccc", 2}}});
}

TEST_CASE("a replica of an earlier build is known as one, and nothing that it says is read") {
  const std::string earlier(earlier_record_key);
  const char* replica = R"({"version":1,"replica":{"image_id":"77ff","pool_id":5,"points":[]}})";
  CHECK(earlier_replica(image_with({{earlier, replica}})) == EarlierReplica::replica);
  const char* promoted = R"({"version":2,"replica":{"image_id":"77ff","pool_id":5,"promoted":{"point":"x"}}})";
  CHECK(earlier_replica(image_with({{earlier, promoted}})) == EarlierReplica::promoted);
  CHECK(image_record(image_with({{earlier, replica}})) == ImageRecord{});
  CHECK(earlier_replica(image_with({{earlier, replica}, {std::string(replica_key), "{}"}})) == EarlierReplica::none);
  for (const char* other : {"", "{", "[]", "7", R"({"version":1})", R"({"replica":7})", R"({"replica":{}})",
                            R"({"replica":{"image_id":"77ff","pool_id":6}})",
                            R"({"replica":{"image_id":7,"pool_id":5}})", R"({"source":{}})"}) {
    CAPTURE(other);
    CHECK(earlier_replica(image_with({{earlier, other}})) == EarlierReplica::none);
  }
}

TEST_CASE("a record that was copied with another image's metadata does not count") {
  ReplicaRecord record = own_record();
  record.image_id = "1234";
  CHECK(image_record(image_with(record_keys({record, std::nullopt}))) == ImageRecord{});
  record = own_record();
  record.pool_id = 6;
  CHECK(image_record(image_with(record_keys({record, std::nullopt}))) == ImageRecord{});
  const SourceRecord copied{source, {{"nightly", {"Nightly", "bbbb", 1}}}};
  CHECK(image_record(image_with(record_keys({std::nullopt, copied}))) == ImageRecord{});
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
  for (const std::string& key : {std::string(replica_key), source_key("nightly")}) {
    CAPTURE(key);
    for (const char* broken : {"", "{", "[]", "{}", "7", R"({"version":1})", R"({"version":1,"source":7})"}) {
      CAPTURE(broken);
      CHECK_THROWS_AS((void)image_record(image_with({{key, broken}})), Error);
    }
    try {
      (void)image_record(image_with({{key, R"({"version":2})"}}));
      FAIL("a newer version was accepted");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::unsupported);
      CHECK(error.subject() == key);
    }
  }
  CHECK(image_record(ImageState{}) == ImageRecord{});
}
