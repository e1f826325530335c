#include "ssh/openssh_process.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "ssh/login_failure.hpp"
#include "ssh/ssh_options.hpp"

namespace crossover {
namespace {

// By that name a child opens a descriptor of ours anew; who may not look into this process cannot.
std::string name_of(const UniqueFd& fd) {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd.get());
}

std::vector<std::string> ssh_words(const SshRoute& route, const UniqueFd& log, const KnownHostsFile* known_hosts,
                                   const std::string& command_line) {
  const SshHost& host = route.host;
  // A jump host's ssh knows nothing of BatchMode: whatever it would ask is answered by a program that fails.
  std::vector<std::string> words{"env", "SSH_ASKPASS_REQUIRE=force", "SSH_ASKPASS=/bin/false", "ssh", "-T",
                                 "-E",  name_of(log)};
  const auto add = [&](const std::string& option) {
    words.emplace_back("-o");
    words.push_back(option);
  };
  add("LogLevel=DEBUG1");
  if (known_hosts != nullptr) {
    add("UserKnownHostsFile=" + known_hosts->path());
    add("GlobalKnownHostsFile=none");
  }
  add(std::string("StrictHostKeyChecking=") +
      (route.accepts_new_host_keys() && known_hosts == nullptr ? "accept-new" : "yes"));
  add("Ciphers=" + route.ciphers);
  if (!route.config.connect_timeout) {
    add("ConnectTimeout=" + std::to_string(std::chrono::ceil<std::chrono::seconds>(host.connect_timeout).count()));
  }
  add("ServerAliveInterval=" + std::to_string(host.keepalive.count()));
  for (const char* option :
       {"ServerAliveCountMax=3", "UpdateHostKeys=no", "ControlMaster=no", "ControlPath=none",
        "PermitLocalCommand=no", "RemoteCommand=none", "RequestTTY=no", "ClearAllForwardings=yes", "ForwardAgent=no",
        "ForwardX11=no", "Tunnel=no", "EscapeChar=none", "VisualHostKey=no", "AddKeysToAgent=no"}) {
    add(option);
  }
  const std::vector<std::string> options = ssh_options(host);
  words.insert(words.end(), options.begin(), options.end());
  words.insert(words.end(), {"--", ssh_target(host), command_line});
  return words;
}

}  // namespace

KnownHostsFile::KnownHostsFile(const std::string& text) : fd_(::memfd_create("known_hosts", MFD_CLOEXEC)) {
  if (!fd_ || ::write(fd_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    throw Error(ErrorCode::io, "keep", "known hosts", std::strerror(errno));
  }
}

std::string KnownHostsFile::path() const {
  return name_of(fd_);
}

struct OpensshProcess::Channels {
  explicit Channels(const SshRoute& route) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
      throw Error(ErrorCode::io, "create a pipe for", route.host.name, std::strerror(errno));
    }
    log_read.reset(ends[0]);
    log_write.reset(ends[1]);
    if (host_keys_on_record(route.host, route.config).text_decides) {
      known_hosts = std::make_unique<KnownHostsFile>(route.host.known_hosts_text);
    }
  }
  UniqueFd log_read;
  UniqueFd log_write;
  std::unique_ptr<KnownHostsFile> known_hosts;
};

OpensshProcess::OpensshProcess(const SshRoute& route, std::shared_ptr<Places::Place> place,
                               const std::string& command_name, const std::string& command_line, Deadline deadline,
                               std::stop_token stop)
    : OpensshProcess(route, std::move(place), Channels(route), command_name, command_line, deadline,
                     std::move(stop)) {}

OpensshProcess::OpensshProcess(const SshRoute& route, std::shared_ptr<Places::Place> place, Channels channels,
                               const std::string& command_name, const std::string& command_line, Deadline deadline,
                               std::stop_token stop)
    : ChildProcess(route.host.name + ": " + command_name,
                   ssh_words(route, channels.log_write, channels.known_hosts.get(), command_line),
                   std::move(channels.log_read), std::move(stop)),
      place_(std::move(place)),
      log_end_(std::move(channels.log_write)),
      known_hosts_(std::move(channels.known_hosts)) {
  wait_for_login(route.host, deadline);
}

void OpensshProcess::wait_for_login(const SshHost& host, Deadline deadline) {
  const auto logged_in = [this] {
    return log_text_.view().find("debug1: Sending command: ") != std::string_view::npos;
  };
  while (!logged_in()) {
    stop().check();
    if (deadline.passed()) {
      throw Error(ErrorCode::unreachable, "connect to", host.name, "the ssh server did not answer in time", true);
    }
    ChildProcess::pump({.input = false, .output_room = 0}, deadline);
    if (!running()) {
      take_log();
      if (logged_in()) return;
      take_errors();
      throw_login_failure(host, log_text_.view(), errors_.view());
    }
  }
}

void OpensshProcess::pump(Interest interest, Deadline deadline) {
  ChildProcess::pump(interest, deadline);
  if (ended()) settle();
}

int OpensshProcess::exit_status() {
  settle();
  return *command_status_;
}

void OpensshProcess::settle() {
  if (command_status_) return;
  const int status = ChildProcess::exit_status();
  take_log();
  const std::string_view log = log_text_.view();
  constexpr std::string_view mark = "debug1: Exit status ";
  if (const auto at = log.rfind(mark); at != std::string_view::npos) {
    int number = -1;
    std::from_chars(log.data() + at + mark.size(), log.data() + log.size(), number);
    if (number >= 0) command_status_ = number & 0xff;
    if (number < 0 && log.find("rtype exit-signal") != std::string_view::npos) command_status_ = 128;
    if (command_status_) return;
  }
  if (log.find("exec request failed on channel") != std::string_view::npos) {
    throw Error(ErrorCode::permission, "start", subject(), "the ssh server refuses to run commands");
  }
  std::string cause = one_line(errors_.view());
  if (cause.empty()) cause = "ssh ended with status " + std::to_string(status) + " before the command did";
  throw Error(ErrorCode::unreachable, "run", subject(), cause, true);
}

}  // namespace crossover
