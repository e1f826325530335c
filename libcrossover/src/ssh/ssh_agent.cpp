#include "ssh/ssh_agent.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

#include "crossover/error.hpp"

namespace crossover {
namespace {

constexpr char agent_failure = 5;
constexpr char agent_request_identities = 11;
constexpr char agent_identities_answer = 12;
constexpr char agent_sign_request = 13;
// OpenSSH's own limit of a message.
constexpr std::size_t agent_message_limit = std::size_t{256} << 10;

std::string wire_number(std::size_t number) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(number >> shift & 0xff);
  return bytes;
}

std::string wire_string(std::string_view bytes) {
  return wire_number(bytes.size()) + std::string(bytes);
}

std::optional<std::size_t> take_number(std::string_view& bytes) {
  if (bytes.size() < 4) return std::nullopt;
  std::size_t number = 0;
  for (int i = 0; i < 4; ++i) number = number << 8 | static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)]);
  bytes.remove_prefix(4);
  return number;
}

std::optional<std::string_view> take_string(std::string_view& bytes) {
  const auto size = take_number(bytes);
  if (!size || *size > bytes.size()) return std::nullopt;
  const std::string_view text = bytes.substr(0, *size);
  bytes.remove_prefix(*size);
  return text;
}

/// What a conversation waits for beside its descriptor.
struct AgentWait {
  int stop;
  int ending;  // -1: nothing
  Deadline deadline;

  /// False once there is no more to wait for.
  [[nodiscard]] bool ready(int fd, short events) const {
    for (;;) {
      std::array<pollfd, 3> fds{{{.fd = fd, .events = events, .revents = 0},
                                 {.fd = stop, .events = POLLIN, .revents = 0},
                                 {.fd = ending, .events = POLLIN, .revents = 0}}};
      const int count = ::poll(fds.data(), fds.size(), deadline.poll_timeout());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 || fds[1].revents != 0 || fds[2].revents != 0) return false;
      if (fds[0].revents != 0) return true;
      if (deadline.passed()) return false;
    }
  }
};

bool send_bytes(int fd, std::string_view bytes, const AgentWait& wait) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      if (!wait.ready(fd, POLLOUT)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool receive_bytes(int fd, std::string& bytes, std::size_t size, const AgentWait& wait) {
  bytes.clear();
  while (bytes.size() < size) {
    std::array<char, 4096> chunk;
    const ssize_t count = ::recv(fd, chunk.data(), std::min(chunk.size(), size - bytes.size()), MSG_DONTWAIT);
    if (count > 0) {
      bytes.append(chunk.data(), static_cast<std::size_t>(count));
    } else if (count == 0) {
      return false;
    } else if (errno == EAGAIN) {
      if (!wait.ready(fd, POLLIN)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

/// A message without its length; nothing at the end.
std::optional<std::string> receive_message(int fd, const AgentWait& wait) {
  std::string bytes;
  if (!receive_bytes(fd, bytes, 4, wait)) return std::nullopt;
  std::string_view header = bytes;
  const std::size_t size = *take_number(header);
  if (size == 0 || size > agent_message_limit || !receive_bytes(fd, bytes, size, wait)) return std::nullopt;
  return bytes;
}

UniqueFd connect_agent(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return {};
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  return fd;
}

/// One question and its answer.
std::optional<std::string> ask_agent(const std::string& socket, std::string_view request, const AgentWait& wait) {
  const UniqueFd fd = connect_agent(socket);
  if (!fd || !send_bytes(fd.get(), wire_string(request), wait)) return std::nullopt;
  return receive_message(fd.get(), wait);
}

}  // namespace

std::string agent_socket(const std::string& identity_agent) {
  if (identity_agent.empty() || identity_agent == "none") return {};
  const bool is_variable = identity_agent == "SSH_AUTH_SOCK" || identity_agent.starts_with('$');
  if (!is_variable) return identity_agent;
  const char* value = std::getenv(identity_agent.c_str() + (identity_agent.starts_with('$') ? 1 : 0));
  return value == nullptr ? std::string() : value;
}

std::optional<std::vector<AgentKey>> agent_keys(const std::string& socket, const StopEvent& stop,
                                                Deadline deadline) {
  if (!connect_agent(socket)) return std::vector<AgentKey>();
  const auto answer =
      ask_agent(socket, std::string_view(&agent_request_identities, 1), {stop.fd(), -1, deadline});
  stop.check();
  if (!answer || answer->front() != agent_identities_answer) return std::nullopt;
  std::string_view rest = std::string_view(*answer).substr(1);
  const auto count = take_number(rest);
  std::vector<AgentKey> keys;
  for (std::size_t i = 0; count && i < *count; ++i) {
    const auto blob = take_string(rest);
    const auto comment = take_string(rest);
    if (!blob || !comment) break;
    keys.push_back({std::string(*blob), std::string(*comment)});
  }
  return keys;
}

OneKeyAgent::OneKeyAgent(std::string socket, const StopEvent& stop, Deadline deadline)
    : socket_(std::move(socket)), stop_(stop), deadline_(deadline), ending_(::eventfd(0, EFD_CLOEXEC)) {
  std::array<int, 2> ends{-1, -1};
  if (!ending_ || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw Error(ErrorCode::io, "talk to", "the ssh agent", std::strerror(errno));
  }
  client_.reset(ends[0]);
  server_.reset(ends[1]);
  thread_ = std::thread([this] { serve(); });
}

OneKeyAgent::~OneKeyAgent() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(ending_.get(), &one, sizeof one);
  thread_.join();
}

void OneKeyAgent::offer(const AgentKey& key) {
  const std::lock_guard lock(mutex_);
  key_ = key;
}

void OneKeyAgent::serve() {
  const AgentWait wait{stop_.fd(), ending_.get(), deadline_};
  try {
    while (const auto request = receive_message(server_.get(), wait)) {
      if (!send_bytes(server_.get(), wire_string(answer(*request)), wait)) break;
    }
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): who asks finds it closed
  }
  server_.reset();
}

std::string OneKeyAgent::answer(const std::string& request) {
  AgentKey key;
  {
    const std::lock_guard lock(mutex_);
    key = key_;
  }
  if (request.front() == agent_request_identities) {
    return agent_identities_answer + wire_number(1) + wire_string(key.blob) + wire_string(key.comment);
  }
  std::string_view rest = std::string_view(request).substr(1);
  if (request.front() == agent_sign_request && take_string(rest) == key.blob) {
    const auto signed_by_it = ask_agent(socket_, request, {stop_.fd(), ending_.get(), deadline_});
    if (signed_by_it) return *signed_by_it;
  }
  return {agent_failure};
}

}  // namespace crossover
