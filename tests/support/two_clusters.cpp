#include "support/two_clusters.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "agent/restricted_hypervisor.hpp"
#include "agent/restricted_power.hpp"
#include "agent/restricted_store.hpp"
#include "crossover/error.hpp"
#include "engine/cleanup_source.hpp"
#include "engine/port_receivers.hpp"
#include "engine/reception.hpp"
#include "engine/survey.hpp"
#include "plan/guest_disks.hpp"
#include "serialised_sink.hpp"

namespace crossover::test {

namespace {

constexpr const char* source_storages =
    "rbd: ssd\n\tcontent images\n\tpool fast\n\n"
    "rbd: hdd\n\tcontent images\n\tpool slow\n";
constexpr const char* destination_storages = "rbd: copy\n\tcontent images\n\tpool backup\n";
constexpr std::uint64_t block_bytes = 4096;

/// Offers as through an agent, without one between.
class OfferingReceivers final : public Receivers {
 public:
  OfferingReceivers(Reception& reception, Side seen, std::function<void(PointOffer&)> tamper)
      : reception_(reception), seen_(seen), tamper_(std::move(tamper)) {}

  std::unique_ptr<PointReceiver> begin(const PointOffer& offer, const GuestPlan& plan, TakeNote note,
                                       std::stop_token stop) override {
    PointOffer offered = offer;
    std::string half = destination_half(plan);
    if (tamper_) {
      tamper_(offered);
      // Whoever sends something else knows what it comes to over there.
      const Survey found = survey_offered(offered, seen_, false, stop);
      half = destination_half(
          plan_guest(offered.request, found.inventory, found.guests.at(0), offered.now, offered.repair));
    }
    return std::make_unique<Point>(reception_, plan,
                                   reception_.begin(std::move(offered), half, std::move(note), std::move(stop)));
  }

 private:
  class Point final : public PointReceiver {
   public:
    Point(Reception& reception, const GuestPlan& plan, std::unique_ptr<PointReceiver> received)
        : reception_(reception), plan_(plan), received_(std::move(received)) {}

    void carry_out(StepKind kind) override { received_->carry_out(kind); }
    void record_point(std::span<const Snapshot> ends) override { received_->record_point(ends); }
    [[nodiscard]] std::vector<std::string> transfers() const override { return received_->transfers(); }
    std::unique_ptr<DiskReceiver> receive(std::size_t disk, std::stop_token stop) override {
      if (disk == 0) return received_->receive(disk, std::move(stop));
      return reception_.receive(plan_.disks.at(disk).replica, received_->transfers().at(disk), std::move(stop));
    }
    void abandon() noexcept override { received_->abandon(); }
    [[nodiscard]] bool torn() const noexcept override { return received_->torn(); }

   private:
    Reception& reception_;
    const GuestPlan& plan_;
    std::unique_ptr<PointReceiver> received_;
  };

  Reception& reception_;
  Side seen_;
  std::function<void(PointOffer&)> tamper_;
};

std::string dump_of(const MemoryImageStore& const_store) {
  auto& store = const_cast<MemoryImageStore&>(const_store);  // looking counts as a call, and changes nothing else
  std::string text;
  for (const ImageSpec& spec : store.images()) {
    const ImageState state = store.find(spec).value();
    const auto digest = [&](const std::string& snapshot) {
      const std::vector<std::byte> bytes = store.content(spec, snapshot);
      return std::hash<std::string_view>{}({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    };
    text +=
        fmt::format("{} id {} of {} bytes: {:x}\n", to_string(spec), state.id, state.layout.size_bytes, digest(""));
    for (const Snapshot& snapshot : state.snapshots) {
      text += fmt::format("  @{} id {} of {} bytes: {:x}\n", snapshot.name, snapshot.id, snapshot.size_bytes,
                          digest(snapshot.name));
    }
    for (const auto& [key, value] : state.metadata) text += fmt::format("  {}={}\n", key, value);
  }
  return text;
}

}  // namespace

void ManualClock::wait(std::chrono::milliseconds duration, std::stop_token stop) {
  if (stop.stop_requested()) throw Cancelled{};
  time += duration;
  passed += duration;
  waits.push_back(duration);
  if (on_wait) on_wait();
}

std::vector<std::string> RecordingSink::kinds() const {
  std::vector<std::string> kinds;
  for (const Event& event : events) {
    if (event.kind == EventKind::debug || event.kind == EventKind::transfer_progress) continue;
    kinds.emplace_back(to_string(event.kind));
  }
  return kinds;
}

TwoClusters::TwoClusters()
    : source("east", {"e1", "e2"}, source_storages), destination("west", {"w1", "w2"}, destination_storages) {
  source.images = &source_images;
  destination.images = &replica_images;
  options.vmid = "100";
  options.prefix_id = "99";
  options.destination = "w1";
  options.pool = "copy";
  options.online = true;
  options.retries = "0";
  options.parallel = "1";  // so that the calls of a run have an order
}

void TwoClusters::add_guest(std::uint32_t vmid, std::size_t disks) {
  source.put_guest(vmid, "e1",
                   fmt::format("agent: 1\nboot: order=scsi0\nmemory: 512\nname: web{}\nonboot: 1\n"
                               "vmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3{:03}\n",
                               vmid, vmid),
                   Power::running);
  for (std::size_t disk = 0; disk < disks; ++disk) {
    add_disk(vmid, fmt::format("scsi{}", disk), disk == 0 ? "ssd" : "hdd", fmt::format("vm-{}-disk-{}", vmid, disk),
             disk == 0 ? 16 * block_bytes : 6 * block_bytes + 1024);
  }
}

void TwoClusters::add_disk(std::uint32_t vmid, const std::string& key, const std::string& storage,
                           const std::string& image, std::uint64_t size_bytes) {
  VmConfig config = parse_vm_config(source.config(vmid).value());
  config.set(key, fmt::format("{}:{},discard=on,iothread=1", storage, image));
  source.set_config(vmid, config.to_bytes());
  const ImageSpec spec{storage == "ssd" ? "fast" : "slow", "", image};
  ImageLayout layout;
  layout.size_bytes = size_bytes;
  layout.features = image_feature::layering | image_feature::object_map;
  source_images.create(spec, layout);
  const std::vector<std::byte> bytes(2 * block_bytes, static_cast<std::byte>(random() % 255 + 1));
  source_images.write(spec, 0, bytes);
}

void TwoClusters::write_at_random() {
  MemoryImageStore& images = near_images();
  for (const ImageSpec& spec : images.images()) {
    std::uint64_t size = images.find(spec)->layout.size_bytes;
    if (random() % 8 == 0) {
      size = (random() % 24 + 2) * 1024 * 3;
      images.resize(spec, size);
    }
    for (std::uint32_t count = random() % 4; count > 0; --count) {
      const std::uint64_t offset = random() % size;
      const std::uint64_t length = std::min<std::uint64_t>(random() % (2 * block_bytes) + 1, size - offset);
      if (random() % 3 == 0) {
        images.zero(spec, offset, length);
      } else {
        images.write(spec, offset, std::vector<std::byte>(length, static_cast<std::byte>(random() % 255 + 1)));
      }
    }
  }
}

ImageSpec TwoClusters::image_of(std::uint32_t vmid, const std::string& key) const {
  const VmConfig config = parse_vm_config(source.config(vmid).value());
  for (const GuestDisk& disk : guest_disks(config, source.inventory, true).replicated) {
    if (disk.key == key) return disk.image.spec;
  }
  throw Error(ErrorCode::not_found, "find disk", key, "the guest has none of that key");
}

ImageSpec TwoClusters::replica_of(const ImageSpec& image, std::uint32_t target_vmid) const {
  return {"backup", "", replica_image_name(image.name, image.pool == "fast" ? "ssd" : "hdd", target_vmid)};
}

template <typename Action>
auto TwoClusters::over_ports(EventSink& listener, const Action& action) {
  SerialisedSink sink(listener);
  OneStore all_replicas(far_images());
  const agent::ReceiveContext context{
      restriction.value_or(Restriction{}), all_replicas, [this] { return far_cluster().inventory; }};
  agent::RestrictedStores restricted_stores(context);
  agent::RestrictedHypervisor restricted_cluster(far_cluster(), context);
  agent::RestrictedPower restricted_power(far_cluster(), context);
  const ClusterInventory& there = far_cluster().inventory;
  const auto storage = there.storages.rbd(options.pool);
  ImageStore& replicas =
      restriction ? restricted_stores.open(storage_access(there, storage.value())) : far_images();
  Hypervisor& cluster = restriction ? static_cast<Hypervisor&>(restricted_cluster) : far_cluster();
  GuestPower& power = restriction ? static_cast<GuestPower&>(restricted_power) : far_cluster();
  FaultyStore source_store("source", near_images(), *calls);
  FaultyStore replica_store("destination", replicas, *calls);
  FaultyHypervisor source_cluster("source", near_cluster(), *calls);
  FaultyHypervisor destination_cluster("destination", cluster, *calls);
  FaultyPower source_power("source", near_cluster(), *calls);
  FaultyPower destination_power("destination", power, *calls);
  OneStore source_stores(source_store);
  OneStore replica_stores(replica_store, &far_transfer_memory);
  const Side seen{destination_cluster, destination_power, replica_stores};
  PortReceivers receivers(seen);
  FaultyStore own_store("destination", far_images(), *calls);
  FaultyHypervisor own_cluster("destination", far_cluster(), *calls);
  OneStore own_stores(own_store);
  PortReception reception(seen, {own_cluster, destination_power, own_stores},
                          restriction ? std::optional(ReceiveLimits{}) : std::nullopt, [this] { return clock.now(); });
  OfferingReceivers offering(reception, seen, tamper);
  const std::unique_ptr<Receivers> far_receivers = through ? through(reception) : nullptr;
  return action(Ports{{source_cluster, source_power, source_stores},
                      seen,
                      far_receivers ? *far_receivers : restriction ? static_cast<Receivers&>(offering) : receivers,
                      leases,
                      clock,
                      sink});
}

MirrorReport TwoClusters::run() {
  events.clear();
  return run(events);
}

MirrorReport TwoClusters::run(EventSink& sink) {
  MirrorRequest request = parse_options(options);
  request.marks = marks;
  return over_ports(sink, [&](const Ports& ports) { return mirror(request, ports, calls->stop()); });
}

MirrorReport TwoClusters::migrate() {
  events.clear();
  MigrateRequest request = parse_options(options, migration);
  request.mirror.marks = marks;
  const ConfirmMigration confirm = [this](const GuestReport&) {
    ++asked;
    if (const auto before = std::exchange(before_answer, nullptr)) before();
    return confirms;
  };
  return over_ports(events,
                    [&](const Ports& ports) { return crossover::migrate(request, ports, confirm, calls->stop()); });
}

VerifyReport TwoClusters::verify(const VerifyOptions& what) {
  events.clear();
  VerifyRequest request = parse_options(options, what);
  request.mirror.marks = marks;
  return over_ports(events, [&](const Ports& ports) { return crossover::verify(request, ports, calls->stop()); });
}

template <typename Action>
auto TwoClusters::over_replica_ports(const Action& action) {
  events.clear();
  FaultyStore store("destination", far_images(), *calls);
  FaultyHypervisor cluster("destination", far_cluster(), *calls);
  FaultyPower power("destination", far_cluster(), *calls);
  OneStore stores(store);
  SerialisedSink sink(events);
  return action(ReplicaPorts{cluster, power, stores, clock, sink});
}

ReplicaReport TwoClusters::points(std::uint32_t vmid) {
  return over_replica_ports([&](const ReplicaPorts& ports) {
    const Replica replica = find_replica(survey_replicas({vmid}, ports, calls->stop()), vmid);
    return report_of(replica, clock.now());
  });
}

RecoverReport TwoClusters::recover(std::uint32_t vmid, const RecoverOptions& how) {
  return over_replica_ports([&](const ReplicaPorts& ports) {
    return crossover::recover(parse_options(vmid, how), ports, calls->stop());
  });
}

PruneReport TwoClusters::prune(const std::string& vmids, const PruneOptions& what) {
  return over_replica_ports([&](const ReplicaPorts& ports) {
    return crossover::prune(parse_options(vmids, what), ports, calls->stop());
  });
}

CleanupReport TwoClusters::clean_up(std::uint32_t vmid) {
  events.clear();
  return over_ports(events, [&](const Ports& ports) {
    return cleanup_source(vmid, {}, false, [this](const CleanupReport&) { return confirms; },
                          {ports.source.hypervisor, ports.source.power, ports.source.images, clock, ports.events},
                          leases, calls->stop());
  });
}

bool TwoClusters::is_let_go() const {
  const auto& guests = source.inventory.guests;
  return leases.held() == 0 && !source_images.is_held() && !replica_images.is_held() &&
         std::none_of(guests.begin(), guests.end(), [this](const auto& guest) { return source.held(guest.first); });
}

std::string TwoClusters::dump() const {
  return "source\n" + source.dump() + dump_of(source_images) + dump_destination();
}

std::string TwoClusters::dump_destination() const {
  return "destination\n" + destination.dump() + dump_of(replica_images);
}

}  // namespace crossover::test
