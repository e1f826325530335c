#include "crossover/migrator.hpp"

#include <condition_variable>
#include <mutex>

#include "connect.hpp"
#include "crossover/error.hpp"
#include "engine/check.hpp"
#include "engine/mirror.hpp"

namespace crossover {

namespace {

class SystemClock final : public Clock {
 public:
  std::chrono::sys_seconds now() override {
    return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  }

  void wait(std::chrono::milliseconds duration, std::stop_token stop) override {
    std::mutex mutex;
    std::condition_variable_any woken;
    std::unique_lock lock(mutex);
    woken.wait_for(lock, stop, duration, [] { return false; });
    if (stop.stop_requested()) throw Cancelled{};
  }
};

/// Events come from several threads of the engine; a sink hears one at a time.
class SerialisedSink final : public EventSink {
 public:
  explicit SerialisedSink(EventSink& next) : next_(next) {}

  void on_event(const Event& event) override {
    const std::scoped_lock lock(mutex_);
    next_.on_event(event);
  }

 private:
  EventSink& next_;
  std::mutex mutex_;
};

class DeafSink final : public EventSink {
 public:
  void on_event(const Event& /*event*/) override {}
};

}  // namespace

struct Migrator::Implementation {
  MirrorRequest request;
  SystemClock clock;
};

Migrator::Migrator(const MirrorOptions& options)
    : implementation_(std::make_unique<Implementation>(Implementation{parse_options(options), {}})) {}
Migrator::~Migrator() = default;
Migrator::Migrator(Migrator&&) noexcept = default;
Migrator& Migrator::operator=(Migrator&&) noexcept = default;

MirrorReport Migrator::mirror(EventSink& events, std::stop_token stop) {
  const std::unique_ptr<Connection> connection = connect(implementation_->request);
  SerialisedSink serialised(events);
  const Ports ports{connection->source(), connection->destination(), implementation_->clock, serialised};
  return crossover::mirror(implementation_->request, ports, std::move(stop));
}

CheckReport Migrator::check(std::stop_token stop) {
  const std::unique_ptr<Connection> connection = connect(implementation_->request);
  DeafSink deaf;
  const Ports ports{connection->source(), connection->destination(), implementation_->clock, deaf};
  return crossover::check(implementation_->request, ports, std::move(stop));
}

std::string version() {
  return CROSSOVER_VERSION;
}

}  // namespace crossover
