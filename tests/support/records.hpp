/// \file
/// Records as tests put them on images.
#pragma once

#include <map>
#include <string>

#include "engine/image_store.hpp"
#include "plan/record.hpp"

namespace crossover::test {

/// What stands on an image of which all of that is known.
inline std::map<std::string, std::string> record_keys(const ImageRecord& record) {
  std::map<std::string, std::string> keys;
  if (record.replica) {
    keys[std::string(replica_key)] = render_replica(*record.replica);
    if (record.replica->promoted) {
      ReplicaRecord promoted = *record.replica;
      promoted.promoted->done = promoted.state == ReplicaState::complete;
      keys[std::string(promotion_key)] = render_promotion(promoted);
    }
  }
  if (record.source) {
    for (const auto& [label, job] : record.source->jobs) {
      keys[source_key(label)] = render_source_job(record.source->source, job);
    }
  }
  return keys;
}

/// That, and no other record, stands in an image's metadata.
inline void put_record(std::map<std::string, std::string>& metadata, const ImageRecord& record) {
  std::erase_if(metadata, [](const auto& entry) {
    return entry.first == replica_key || entry.first == promotion_key || entry.first.starts_with(source_key_prefix);
  });
  metadata.merge(record_keys(record));
}

/// The same on an image of a store.
inline void put_record(ImageStore& store, const ImageSpec& image, const ImageRecord& record) {
  const auto keys = record_keys(record);
  const ImageState state = store.find(image).value();
  for (const auto& [key, value] : state.metadata) {
    const bool is_record =
        key == replica_key || key == promotion_key || key.starts_with(source_key_prefix);
    if (is_record && !keys.contains(key)) store.remove_metadata(image, key);
  }
  for (const auto& [key, value] : keys) store.set_metadata(image, key, value);
}

}  // namespace crossover::test
