#include "crossover/migrator.hpp"

#include "connect.hpp"
#include "crossover/error.hpp"
#include "engine/check.hpp"
#include "engine/migrate.hpp"
#include "engine/mirror.hpp"
#include "engine/verify.hpp"
#include "serialised_sink.hpp"
#include "system_clock.hpp"

namespace crossover {

namespace {

/// A check has items instead of events; warnings become some.
class WarningSink final : public EventSink {
 public:
  void on_event(const Event& event) override {
    if (event.kind != EventKind::warning) return;
    items.push_back({CheckItem::Result::warning, event.host, event.text});
  }
  std::vector<CheckItem> items;
};

}  // namespace

struct Migrator::Implementation {
  MirrorRequest request;
  SystemClock clock;

  Ports ports_of(Connection& connection, EventSink& events) {
    return {connection.source(), connection.destination(), connection.receivers(), connection.leases(), clock, events};
  }
};

Migrator::Migrator(const MirrorOptions& options)
    : implementation_(std::make_unique<Implementation>(Implementation{parse_options(options), {}})) {}
Migrator::~Migrator() = default;
Migrator::Migrator(Migrator&&) noexcept = default;
Migrator& Migrator::operator=(Migrator&&) noexcept = default;

MirrorReport Migrator::mirror(EventSink& events, std::stop_token stop) {
  SerialisedSink serialised(events);
  const std::unique_ptr<Connection> connection = connect(implementation_->request, serialised);
  const Ports ports = implementation_->ports_of(*connection, serialised);
  return crossover::mirror(implementation_->request, ports, std::move(stop));
}

MirrorReport Migrator::migrate(const MigrateOptions& options, const ConfirmMigration& confirm, EventSink& events,
                               std::stop_token stop) {
  const MigrateRequest request = parse_options(implementation_->request.options, options);
  SerialisedSink serialised(events);
  const std::unique_ptr<Connection> connection = connect(request.mirror, serialised);
  const Ports ports = implementation_->ports_of(*connection, serialised);
  return crossover::migrate(request, ports, confirm, std::move(stop));
}

VerifyReport Migrator::verify(const VerifyOptions& options, EventSink& events, std::stop_token stop) {
  const VerifyRequest request = parse_options(implementation_->request.options, options);
  SerialisedSink serialised(events);
  const std::unique_ptr<Connection> connection = connect(request.mirror, serialised);
  const Ports ports = implementation_->ports_of(*connection, serialised);
  return crossover::verify(request, ports, std::move(stop));
}

CheckReport Migrator::check(std::stop_token stop) {
  WarningSink warnings;
  SerialisedSink serialised(warnings);
  const std::unique_ptr<Connection> connection = connect(implementation_->request, serialised);
  const Ports ports = implementation_->ports_of(*connection, serialised);
  CheckReport report = crossover::check(implementation_->request, ports, std::move(stop));
  for (const SshUse& use : connection->ssh_uses()) {
    report.items.push_back({CheckItem::Result::ok, use.host, use.text});
  }
  report.items.insert(report.items.end(), warnings.items.begin(), warnings.items.end());
  return report;
}

std::string version() {
  return CROSSOVER_VERSION;
}

}  // namespace crossover
