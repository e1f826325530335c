#include "ssh/child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "crossover/error.hpp"

namespace crossover {
namespace {

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

// Above the three standard descriptors, so that wiring them up in the child never overwrites one that is still
// needed, even in a program that has closed its own.
UniqueFd above_standard(int fd) {
  UniqueFd low(fd);
  if (fd > STDERR_FILENO) return low;
  return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

Pipe make_pipe(const std::string& subject) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw Error(ErrorCode::io, "create a pipe for", subject, std::strerror(errno));
  }
  Pipe pipe{above_standard(ends[0]), above_standard(ends[1])};
  if (!pipe.read_end || !pipe.write_end) {
    throw Error(ErrorCode::io, "create a pipe for", subject, std::strerror(errno));
  }
  // Larger than the default 64 KiB: fewer wake-ups in bulk transfers. It may be refused, which costs speed only.
  ::fcntl(pipe.write_end.get(), F_SETPIPE_SZ, 1 << 20);
  return pipe;
}

void set_nonblocking(const UniqueFd& fd) {
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

// Keeps a SIGPIPE that our own write causes from the program: pipes have no MSG_NOSIGNAL, and the library must not
// change how the program handles signals.
class SigpipeShield {
 public:
  SigpipeShield() noexcept {
    sigemptyset(&sigpipe_);
    sigaddset(&sigpipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  ~SigpipeShield() {
    const int saved = errno;
    if (raised_ && !was_pending_) {
      const timespec now{};
      while (sigtimedwait(&sigpipe_, nullptr, &now) < 0 && errno == EINTR) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = saved;
  }
  SigpipeShield(const SigpipeShield&) = delete;
  SigpipeShield& operator=(const SigpipeShield&) = delete;

  void raised() noexcept { raised_ = true; }

 private:
  sigset_t sigpipe_{};
  sigset_t before_{};
  bool was_pending_ = false;
  bool raised_ = false;
};

struct SpawnSettings {
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
};

std::string subject_of(const std::string& host, const std::vector<std::string>& argv) {
  const auto has_nul = [](const std::string& arg) { return arg.find('\0') != std::string::npos; };
  if (argv.empty() || argv.front().empty()) throw Error(ErrorCode::usage, "run", host, "no command given");
  if (std::any_of(argv.begin(), argv.end(), has_nul)) {
    throw Error(ErrorCode::usage, "run", host, "an argument contains a NUL byte");
  }
  return host + ": " + argv.front();
}

}  // namespace

ChildProcess::ChildProcess(const std::string& host, const std::vector<std::string>& argv, std::stop_token stop)
    : ChildProcess(subject_of(host, argv), argv, UniqueFd(), std::move(stop)) {}

ChildProcess::ChildProcess(std::string about, const std::vector<std::string>& argv, UniqueFd log,
                           std::stop_token stop)
    : DuplexProcess(std::move(about), std::move(stop)), log_(std::move(log)) {
  this->stop().check();
  Pipe in = make_pipe(subject());
  Pipe out = make_pipe(subject());
  Pipe err = make_pipe(subject());
  spawn(argv, in.read_end.get(), out.write_end.get(), err.write_end.get());
  input_ = std::move(in.write_end);
  stdout_ = std::move(out.read_end);
  stderr_ = std::move(err.read_end);
  for (const UniqueFd* fd : {&input_, &stdout_, &stderr_, &log_}) {
    if (*fd) set_nonblocking(*fd);
  }
}

void ChildProcess::spawn(const std::vector<std::string>& argv, int child_in, int child_out, int child_err) {
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  SpawnSettings settings;
  posix_spawn_file_actions_adddup2(&settings.actions, child_in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&settings.actions, child_out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&settings.actions, child_err, STDERR_FILENO);
  // Descriptors other parts of the program opened without close-on-exec are none of the child's business.
  posix_spawn_file_actions_addclosefrom_np(&settings.actions, STDERR_FILENO + 1);

  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&settings.attributes, &none);
  posix_spawnattr_setsigdefault(&settings.attributes, &all);  // Python, for one, ignores SIGPIPE
  posix_spawnattr_setpgroup(&settings.attributes, 0);
  posix_spawnattr_setflags(&settings.attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  pid_t pid = -1;
  const int error =
      ::posix_spawnp(&pid, arguments[0], &settings.actions, &settings.attributes, arguments.data(), environ);
  if (error == EAGAIN || error == ENOMEM) {
    throw Error(ErrorCode::io, "start", subject(), std::strerror(error), true);
  }
  if (error != 0) {
    // As a shell would answer; the streams are at their end because nobody holds the child's ends.
    status_ = error == ENOENT || error == ENOTDIR ? 127 : 126;
    const std::string message =
        argv.front() + ": " + (*status_ == 127 ? "command not found" : std::strerror(error)) + "\n";
    errors_.append(message.data(), message.size());
    return;
  }
  pid_ = pid;
  running_ = true;
  // The child cannot be reaped by anybody else yet, so the number still means our child.
  pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd_) {
    const int why = errno;
    ::kill(-pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    pid_ = -1;
    throw Error(ErrorCode::io, "watch", subject(), std::strerror(why), true);
  }
}

ChildProcess::~ChildProcess() {
  input_.reset();
  stdout_.reset();
  stderr_.reset();
  if (pid_ < 0) return;
  // Until it is reaped, the leader's number, and so the group's, cannot mean another process.
  const Deadline patience = Deadline::after(std::chrono::seconds(2));
  ::kill(-pid_, SIGTERM);
  while (running_) {
    pollfd exit{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&exit, 1, patience.poll_timeout()) > 0 || patience.passed()) break;
  }
  ::kill(-pid_, SIGKILL);
  reap();
}

void ChildProcess::reap() noexcept {
  siginfo_t info{};
  int result = 0;
  do {
    result = ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.get()), &info, WEXITED);
  } while (result != 0 && errno == EINTR);
  pid_ = -1;
  running_ = false;
  if (result == 0) status_ = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

int ChildProcess::exit_status() {
  if (pid_ >= 0) reap();
  if (!status_) throw Error(ErrorCode::io, "wait for", subject(), "its exit status was taken by somebody else");
  return *status_;
}

std::optional<std::size_t> ChildProcess::offer_input(std::span<const std::byte> bytes) {
  SigpipeShield shield;
  for (;;) {
    const ssize_t written = ::write(input_.get(), bytes.data(), bytes.size());
    if (written >= 0) return static_cast<std::size_t>(written);
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return 0;
    if (errno == EPIPE) {
      shield.raised();
      return std::nullopt;
    }
    throw Error(ErrorCode::io, "write to", subject(), std::strerror(errno));
  }
}

void ChildProcess::pump(Interest interest, Deadline deadline) {
  // poll() leaves out negative descriptors.
  std::array<pollfd, 6> fds{{
      {.fd = stop().fd(), .events = POLLIN, .revents = 0},
      {.fd = interest.input ? input_.get() : -1, .events = POLLOUT, .revents = 0},
      {.fd = interest.output_room > 0 ? stdout_.get() : -1, .events = POLLIN, .revents = 0},
      {.fd = stderr_.get(), .events = POLLIN, .revents = 0},
      {.fd = running_ ? pidfd_.get() : -1, .events = POLLIN, .revents = 0},
      {.fd = log_.get(), .events = POLLIN, .revents = 0},
  }};
  if (::poll(fds.data(), fds.size(), deadline.poll_timeout()) < 0) {
    if (errno == EINTR) return;
    throw Error(ErrorCode::io, "wait for", subject(), std::strerror(errno));
  }
  if (fds[2].revents != 0) take_output(interest.output_room);
  if (fds[3].revents != 0) take_errors();
  if (fds[5].revents != 0) take_log();
  if (fds[4].revents != 0) running_ = false;
}

void ChildProcess::take_log() {
  std::array<std::byte, std::size_t{16} << 10> chunk;
  while (log_) {
    const ssize_t count = ::read(log_.get(), chunk.data(), chunk.size());
    if (count > 0) {
      log_text_.append(chunk.data(), static_cast<std::size_t>(count));
    } else if (count == 0) {
      log_.reset();
    } else if (errno != EINTR) {
      return;
    }
  }
}

void ChildProcess::take_output(std::size_t room) {
  std::array<std::byte, std::size_t{64} << 10> chunk;
  while (room > 0) {
    const ssize_t count = ::read(stdout_.get(), chunk.data(), std::min(room, chunk.size()));
    if (count > 0) {
      output_.append(chunk.data(), static_cast<std::size_t>(count));
      room -= static_cast<std::size_t>(count);
    } else if (count == 0) {
      return stdout_.reset();
    } else if (errno != EINTR) {
      if (errno == EAGAIN) return;
      throw Error(ErrorCode::io, "read from", subject(), std::strerror(errno));
    }
  }
}

void ChildProcess::take_errors() {
  std::array<std::byte, std::size_t{16} << 10> chunk;
  const ssize_t count = ::read(stderr_.get(), chunk.data(), chunk.size());
  if (count > 0) {
    errors_.append(chunk.data(), static_cast<std::size_t>(count));
  } else if (count == 0) {
    stderr_.reset();
  }
}

}  // namespace crossover
