// Embeds the library: mirrors a guest several times in a row, and says how long each time took.
//
//   example-embed DESTINATION STORAGE VMID ROUNDS
//
// Shows the whole of the contract: options as values, events through a sink, a stop token, a report, and errors
// that a program can decide by.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stop_token>
#include <thread>

#include "crossover/error.hpp"
#include "crossover/migrator.hpp"

namespace {

/// Prints what a watching person wants to know, and leaves the rest out.
class Narrator final : public crossover::EventSink {
 public:
  void on_event(const crossover::Event& event) override {
    switch (event.kind) {
      case crossover::EventKind::thawed:
        std::printf("  frozen for %lld ms\n", static_cast<long long>(event.elapsed.count()));
        break;
      case crossover::EventKind::transfer_finished:
        std::printf("  %s: %llu bytes%s\n", event.subject.c_str(), static_cast<unsigned long long>(event.bytes),
                    event.full ? ", a first copy" : "");
        break;
      case crossover::EventKind::warning:
        std::printf("  warning: %s\n", event.text.c_str());
        break;
      default:
        break;
    }
  }
};

/// The library installs no signal handlers; a program that wants to end a run in order waits for them itself.
void stop_on_signals(std::stop_source& stop, const sigset_t& signals) {
  std::thread([&stop, signals] {
    int number = 0;
    sigwait(&signals, &number);
    stop.request_stop();
  }).detach();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: example-embed DESTINATION STORAGE VMID ROUNDS\n");
    return 2;
  }
  crossover::MirrorOptions options;
  options.destination = argv[1];
  options.pool = argv[2];
  options.vmid = argv[3];
  options.online = true;

  // Blocked before any thread is started, so that only the waiting one sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  static std::stop_source stop;
  stop_on_signals(stop, signals);

  try {
    crossover::Migrator migrator(options);
    Narrator narrator;
    for (int round = std::atoi(argv[4]); round > 0; --round) {
      const crossover::MirrorReport report = migrator.mirror(narrator, stop.get_token());
      for (const crossover::GuestReport& guest : report.guests) {
        if (guest.outcome == crossover::Outcome::ok) {
          std::printf("VM %u: %s, after %lld ms\n", guest.vmid, guest.recovery_point.c_str(),
                      static_cast<long long>(report.duration.count()));
        } else {
          std::printf("VM %u: %s\n", guest.vmid, guest.error.c_str());
          return 1;
        }
      }
    }
    return 0;
  } catch (const crossover::Cancelled&) {
    std::fprintf(stderr, "interrupted; the guest is thawed and unlocked\n");
    return 130;
  } catch (const crossover::Error& error) {
    std::fprintf(stderr, "%s%s\n", error.what(), error.retryable() ? " (trying again may help)" : "");
    return error.code() == crossover::ErrorCode::usage ? 2 : 1;
  }
}
