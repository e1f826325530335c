// The crossover command: the only place that prints, handles signals and decides on exit statuses.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <syslog.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "allow_source_command.hpp"
#include "ask.hpp"
#include "command_line.hpp"
#include "crossover/agent.hpp"
#include "crossover/error.hpp"
#include "crossover/migrator.hpp"
#include "crossover/printable.hpp"
#include "crossover/replicas.hpp"
#include "crossover/sources.hpp"
#include "diff_commands.hpp"
#include "exit_status.hpp"
#include "renderer.hpp"
#include "print.hpp"

namespace {

using namespace crossover;
using namespace crossover::cli;

/// How long something that was asked to stop is waited for, and what is said of it when it is not any more.
struct Patience {
  std::chrono::seconds time;
  std::string_view given_up;
};

/// A migration starts its guest again first, and takes its time for that.
constexpr Patience for_migration{std::chrono::hours(1),
                                 "a migration may be half done: run the same command again to end it"};
constexpr Patience for_run{std::chrono::seconds(10),
                           "something hangs and was abandoned: guests get thawed and unlocked on their nodes, and the "
                           "next run cleans up the replicas"};
constexpr Patience for_source{std::chrono::seconds(10),
                              "something hangs and was abandoned: a cephx user, or an image 'crossover-probe-...', may "
                              "be left; run the same command again, or allow-source --remove"};

Patience patience_for(DiffCommand command) {
  constexpr std::chrono::seconds time(10);
  switch (command) {
    case DiffCommand::export_diff:
      return {time, "something hangs and was abandoned: what was written is not a whole stream"};
    case DiffCommand::import_diff:
      return {time, "something hangs and was abandoned: the image may be half written; roll it back before it is used"};
    case DiffCommand::show_diff:
      break;
  }
  return {time, "something hangs and was abandoned"};
}

/// SIGINT, SIGTERM and, but for nohup, SIGHUP ask what is done to stop; a run then thaws and unlocks before it ends.
/// At a second signal, or when the patience is at its end, it is not waited for any more.
class SignalStop {
 public:
  explicit SignalStop(Patience patience) : patience_(patience) {
    sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaddset(&signals_, signal);
    // A blocked signal comes even where it is ignored, and with nohup this one has to be.
    struct sigaction at_hangup {};
    if (sigaction(SIGHUP, nullptr, &at_hangup) != 0 || at_hangup.sa_handler != SIG_IGN) sigaddset(&signals_, SIGHUP);
    // Blocked before any thread is started, so that every thread inherits it and only the waiting one sees them.
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    waiting_ = std::thread([this] {
      int signal = 0;
      if (sigwait(&signals_, &signal) != 0 || signal == SIGUSR1) return;
      source_.request_stop();
      const timespec time{.tv_sec = patience_.time.count(), .tv_nsec = 0};
      if (sigtimedwait(&signals_, nullptr, &time) != SIGUSR1) abandon();
    });
  }

  ~SignalStop() {
    pthread_kill(waiting_.native_handle(), SIGUSR1);
    waiting_.join();
  }

  SignalStop(const SignalStop&) = delete;
  SignalStop& operator=(const SignalStop&) = delete;

  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }

 private:
  /// A call that hangs, on a dead link or a Ceph that does not answer, must not keep the caller for ever. The
  /// processes that hold guests frozen or locked see this one end and undo that by themselves; the next run mends
  /// the rest.
  [[noreturn]] void abandon() const {
    print(stderr, "crossover: interrupted; {}\n", patience_.given_up);
    std::_Exit(exit_interrupted);
  }

  Patience patience_;
  sigset_t signals_{};
  std::stop_source source_;
  std::thread waiting_;
};

class NullSink final : public EventSink {
 public:
  void on_event(const Event& /*event*/) override {}
};

/// Nobody is there to be asked.
bool needs_terminal(const Invocation& invocation) {
  return !invocation.no_confirm && isatty(STDIN_FILENO) != 1;
}

MirrorReport mirror(const Invocation& invocation, EventSink& events, const std::stop_token& stop) {
  Migrator migrator(invocation.options);
  if (!invocation.migrate) return migrator.mirror(events, stop);
  if (!invocation.options.dry_run && needs_terminal(invocation)) {
    throw Error(ErrorCode::usage, "option", "--migrate",
                "it asks before it takes a guest down, and there is no terminal; give --noconfirm");
  }
  const ConfirmMigration confirm = [&](const GuestReport& guest) {
    return invocation.no_confirm ||
           ask(STDIN_FILENO,
               fmt::format("VM {} ({}) will be {} here and be VM {} on {}.", guest.vmid, guest.name,
                           invocation.migration.mode == "suspend" ? "suspended" : "shut down", guest.target_vmid,
                           guest.target_node),
               stop);
  };
  return migrator.migrate(invocation.migration, confirm, events, stop);
}

int mirror(const Invocation& invocation, std::stop_token stop) {
  const bool quiet = invocation.json || invocation.options.dry_run;
  Renderer renderer(stdout, invocation.options, invocation.debug);
  NullSink null;
  const MirrorReport report = mirror(invocation, quiet ? static_cast<EventSink&>(null) : renderer, stop);
  if (quiet) {
    for (const GuestReport& guest : report.guests) {
      if (!guest.error.empty()) {
        print(
            stderr, "crossover: {}\n",
            guest.error.starts_with("VM ") ? guest.error : fmt::format("VM {}: {}", guest.vmid, guest.error));
      }
    }
  }
  if (invocation.json) {
    put(stdout, to_json(report) + "\n");
  } else if (invocation.options.dry_run) {
    put(stdout, render_plan(report));
  } else {
    renderer.summary(report);
  }
  return exit_status(report);
}

int verify(const Invocation& invocation, std::stop_token stop) {
  Renderer renderer(stdout, invocation.options, invocation.debug);
  NullSink null;
  const VerifyReport report =
      Migrator(invocation.options)
          .verify(invocation.verify, invocation.json ? static_cast<EventSink&>(null) : renderer, std::move(stop));
  if (invocation.json) {
    put(stdout, to_json(report) + "\n");
  } else {
    renderer.summary(report);
  }
  for (const VerifiedGuest& guest : report.guests) {
    const std::string problem = render_problem(guest);
    if (!problem.empty()) print(stderr, "crossover: {}\n", problem);
  }
  return exit_status(report);
}

/// The protocol gets standard input and output for itself: what a library prints goes to standard error, where
/// it can be read and hurts nobody.
int agent(const AgentOptions& options, std::stop_token stop) {
  const std::string source =
      options.restriction && !options.restriction->name.empty() ? " of source " + options.restriction->name : "";
  // What the client asked sshd to run where its key is restricted to this command. None of it is taken; a client
  // that wants something else is told here why it does not get it.
  const char* asked = std::getenv("SSH_ORIGINAL_COMMAND");
  if (asked != nullptr && std::string_view(asked).find("crossover agent") == std::string_view::npos) {
    print(stderr, "crossover: this key{} is restricted to 'crossover agent'; use --transport=agent\n", source);
    return exit_usage;
  }
  if (isatty(STDIN_FILENO) == 1) {
    print(stderr, "crossover: agent is not for people: a crossover on another host starts it through ssh\n");
    return exit_usage;
  }
  const int in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  const int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (in < 0 || out < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    print(stderr, "crossover: agent needs its three standard streams\n");
    return exit_nothing_done;
  }
  AgentOptions logged = options;
  openlog("crossover", LOG_PID, LOG_DAEMON);
  logged.on_refusal = [&source, left = 100](const std::string& refusal) mutable {
    if (left == 0) return;
    const std::string more = --left == 0 ? "; no more of this connection's are logged" : "";
    syslog(LOG_WARNING, "%s", printable("agent" + source + ": " + refusal + more).c_str());
  };
  try {
    serve_agent(in, out, logged, std::move(stop));
  } catch (const Error& error) {
    print(stderr, "crossover: agent{}: {}\n", source, error.what());
    if (error.code() != ErrorCode::timeout) return exit_status(error);
    // A thread may hang in a call to Ceph, and would keep an orderly end from coming.
    std::_Exit(exit_failed);
  }
  return exit_ok;
}

int check(const Invocation& invocation, std::stop_token stop) {
  const CheckReport report = Migrator(invocation.options).check(std::move(stop));
  put(stdout, invocation.json ? to_json(report) + "\n" : render_check(report));
  return exit_status(report);
}

int points(const Invocation& invocation, std::stop_token stop) {
  const ReplicaReport report = Replicas().points(invocation.replica, std::move(stop));
  put(stdout, invocation.json ? to_json(report) + "\n" : render_points(report));
  return exit_ok;
}

int recover(const Invocation& invocation, std::stop_token stop) {
  Renderer renderer(stdout, invocation.options, invocation.debug);
  NullSink null;
  const RecoverReport report =
      Replicas().recover(invocation.replica, invocation.recover,
                         invocation.json ? static_cast<EventSink&>(null) : renderer, std::move(stop));
  put(stdout, invocation.json ? to_json(report) + "\n" : render_recovery(report));
  if (!report.error.empty()) {
    print(
        stderr, "crossover: {}\n",
        report.error.starts_with("VM ") ? report.error : fmt::format("VM {}: {}", report.vmid, report.error));
  }
  return exit_status(report);
}

int prune(const Invocation& invocation, std::stop_token stop) {
  Renderer renderer(stdout, invocation.options, invocation.debug);
  NullSink null;
  const PruneReport report =
      Replicas().prune(invocation.replicas, invocation.prune,
                       invocation.json ? static_cast<EventSink&>(null) : renderer, std::move(stop));
  put(stdout, invocation.json ? to_json(report) + "\n" : render_pruned(report));
  for (const PrunedReplica& replica : report.replicas) {
    // What could not be removed was told as a warning already.
    if (replica.error.empty() || (!invocation.json && !replica.warnings.empty())) continue;
    print(
        stderr, "crossover: {}\n",
        replica.error.starts_with("VM ") ? replica.error : fmt::format("VM {}: {}", replica.vmid, replica.error));
  }
  return exit_status(report);
}

int cleanup_source(const Invocation& invocation, std::stop_token stop) {
  if (!invocation.dry_run && needs_terminal(invocation)) {
    throw Error(ErrorCode::usage, "option", "cleanup-source",
                "it asks before it removes anything, and there is no terminal; give --noconfirm");
  }
  Renderer renderer(stdout, invocation.options, invocation.debug);
  NullSink null;
  const ConfirmCleanup confirm = [&](const CleanupReport& guest) {
    return invocation.no_confirm ||
           ask(STDIN_FILENO,
               fmt::format("VM {} ({}) was migrated to VM {}; what is left of it here will be destroyed, with {}.{}",
                           guest.vmid, guest.name, guest.target_vmid, fmt::join(guest.images, ", "),
                           guest.kept.empty() ? ""
                                              : fmt::format(" Not migrated, and left here: {} (--image removes one).",
                                                            fmt::join(guest.kept, ", "))),
               stop);
  };
  const CleanupReport report = Sources().cleanup(invocation.replica, invocation.images, invocation.dry_run, confirm,
                                                 invocation.json ? static_cast<EventSink&>(null) : renderer, stop);
  put(stdout, invocation.json ? to_json(report) + "\n" : render_cleanup(report));
  if (!report.error.empty()) print(stderr, "crossover: {}\n", report.error);
  return exit_status(report);
}

int diff_command(const std::variant<DiffInvocation, Answer>& parsed) {
  if (const auto* answer = std::get_if<Answer>(&parsed)) {
    put(answer->to_stderr ? stderr : stdout, answer->text);
    return answer->exit_status;
  }
  const auto& invocation = std::get<DiffInvocation>(parsed);
  const SignalStop signals(patience_for(invocation.command));
  return run_diff_command(invocation, signals.token());
}

/// Content comes in blocks of megabytes, one after the other. malloc would map each anew, and the kernel clear it.
void keep_blocks() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  // Each arena keeps what was freed in it: with one for every thread of Ceph's they keep more than --memory.
  mallopt(M_ARENA_MAX, 4);
}

int run(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (const auto diff = parse_diff_command(words, take_ceph_words)) return diff_command(*diff);
  const auto parsed = parse_command_line(argc, argv);
  if (const auto* answer = std::get_if<Answer>(&parsed)) {
    put(answer->to_stderr ? stderr : stdout, answer->text);
    return answer->exit_status;
  }
  const auto& invocation = std::get<Invocation>(parsed);
  const SignalStop signals(invocation.migrate                             ? for_migration
                           : invocation.command == Command::allow_source ? for_source
                                                                         : for_run);
  try {
    switch (invocation.command) {
      case Command::agent:
        return agent(invocation.agent, signals.token());
      case Command::check:
        return check(invocation, signals.token());
      case Command::verify:
        return verify(invocation, signals.token());
      case Command::points:
        return points(invocation, signals.token());
      case Command::recover:
        return recover(invocation, signals.token());
      case Command::prune:
        return prune(invocation, signals.token());
      case Command::allow_source:
        return run_allow_source(invocation, signals.token());
      case Command::cleanup_source:
        return cleanup_source(invocation, signals.token());
      case Command::mirror:
        return mirror(invocation, signals.token());
    }
    return exit_nothing_done;
  } catch (const Cancelled&) {
    print(stderr, "crossover: interrupted{}\n",
               invocation.command == Command::recover ? "; run it again to finish the recovery"
               : invocation.migrate ? "; what was begun was undone, or goes on when it is run again"
               : invocation.command == Command::points || invocation.command == Command::prune ||
                       invocation.command == Command::cleanup_source || invocation.command == Command::allow_source
                   ? ""
                   : "; guests are thawed and unlocked");
    return exit_interrupted;
  } catch (const Error& error) {
    print(stderr, "crossover: {}\n", error.what());
    return exit_status(error);
  } catch (const std::exception& error) {
    print(stderr, "crossover: internal error: {}\n", error.what());
    return exit_nothing_done;
  } catch (...) {
    // What nobody catches ends a process before anything is undone.
    print(stderr, "crossover: internal error\n");
    return exit_nothing_done;
  }
}

}  // namespace

int main(int argc, char** argv) {
  secure_standard_descriptors();
  // A reader that goes away must not end a run in the middle: what is printed then is lost, the run is not.
  signal(SIGPIPE, SIG_IGN);
  keep_blocks();
  const int status = run(argc, argv);
  errno = 0;
  if (printed_all() || status != exit_ok) return status;
  // What failed earlier has left no reason behind.
  print(stderr, "crossover: what was done is done, but standard output could not be written{}{}\n",
        errno == 0 ? "" : ": ", errno == 0 ? "" : std::strerror(errno));
  return exit_failed;
}
