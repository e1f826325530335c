#include "agent/point_service.hpp"

#include <utility>

#include "agent/offer_messages.hpp"

namespace crossover::agent {

namespace {

template <typename T>
T member(const Json& request, const char* key) {
  return member_of<T>(request, key, "read request");
}

}  // namespace

Json PointService::begin(const Json& request, const std::stop_token& stop) {
  require_free();
  PointOffer offer = parse_offer(member<Json>(request, "offer"));
  point_ = reception_.begin(
      std::move(offer), member<std::string>(request, "half"),
      [this](const std::string& note) {
        const std::scoped_lock lock(mutex_);
        notes_.push_back(note);
      },
      stop);
  return progress();
}

Json PointService::carry_out(const Json& request) {
  point().carry_out(parse_step(member<std::string>(request, "step")));
  return progress();
}

Json PointService::record(const Json& request) {
  point().record_point(member<std::vector<Snapshot>>(request, "ends"));
  Json result = progress();
  result["transfers"] = point().transfers();
  return result;
}

Json PointService::end() {
  disk_.reset();
  point().abandon();
  Json result = progress();
  point_.reset();
  return result;
}

void PointService::receive_first_disk(const std::stop_token& stop) {
  disk_ = point().receive(0, stop);
}

void PointService::receive_disk(const ImageRef& image, const std::string& transfer, const std::stop_token& stop) {
  require_free();
  disk_ = reception_.receive(image, transfer, stop);
}

std::unique_ptr<DiffSink> PointService::write_disk(const Json& request, const std::stop_token& stop) {
  if (member<bool>(request, "repair")) return disk().repair(stop);
  return disk().write(member<std::uint64_t>(request, "offset"), stop);
}

void PointService::release_disk() {
  (void)disk();
  disk_.reset();
}

Json PointService::progress() {
  const std::scoped_lock lock(mutex_);
  return {{"notes", std::exchange(notes_, {})}, {"torn", point_->torn()}};
}

PointReceiver& PointService::point() {
  if (!point_) throw Error(ErrorCode::usage, "receive point", "", "this connection has no point under way");
  if (disk_) throw Error(ErrorCode::usage, "receive point", "", "this connection receives a disk");
  return *point_;
}

DiskReceiver& PointService::disk() {
  if (!disk_) throw Error(ErrorCode::usage, "receive disk", "", "this connection receives no disk");
  return *disk_;
}

void PointService::require_free() const {
  if (holds()) throw Error(ErrorCode::usage, "receive", "", "this connection has something under way already");
}

}  // namespace crossover::agent
