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

TEST_CASE("a replica's record comes back as it was written") {
  ReplicaRecord record{source,
                       "data/vm-100-disk-0",
                       "Nightly \"ä\"",
                       99100,
                       "77ff",
                       5,
                       ReplicaState::applied,
                       "mirror-nightly-20261123T010203Z",
                       9,
                       {{"mirror-nightly-20261122T010203Z", 7, 4}}};
  const ImageState image = image_with(render_record(record));
  CHECK(replica_record(image) == record);
  CHECK_FALSE(source_record(image).has_value());
  CHECK(belongs_to(record, image));
}

TEST_CASE("a record that was copied with another image's metadata does not count") {
  ReplicaRecord record;
  record.image_id = "1234";
  record.pool_id = 5;
  CHECK_FALSE(belongs_to(record, image_with(render_record(record))));
}

TEST_CASE("a source's record comes back as it was written") {
  const SourceRecord record{source, {{"nightly", {"Nightly", "aaaa", 99100}}, {"default", {"", "bbbb", 100}}}};
  const ImageState image = image_with(render_record(record));
  CHECK(source_record(image) == record);
  CHECK_FALSE(replica_record(image).has_value());
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
  for (const char* broken : {"", "{", "[]", "{\"version\":1}", "{\"version\":1,\"role\":\"replica\"}"}) {
    CAPTURE(broken);
    CHECK_THROWS_AS((void)replica_record(image_with(broken)), Error);
  }
  try {
    (void)replica_record(image_with("{\"version\":2,\"role\":\"replica\"}"));
    FAIL("a newer version was accepted");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::unsupported);
  }
  CHECK_FALSE(replica_record(ImageState{}).has_value());
}
