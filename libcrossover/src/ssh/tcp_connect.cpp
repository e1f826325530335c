#include "ssh/tcp_connect.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>

#include "crossover/error.hpp"

namespace crossover {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

[[noreturn]] void fail(const std::string& host, const std::string& cause) {
  throw Error(ErrorCode::unreachable, "connect to", host, cause, true);
}

int look_up(const std::string& address, unsigned port, int family, int flags, Addresses& result) {
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (error == 0) result.reset(list);
  return error;
}

struct LookUp {
  std::mutex mutex;
  std::condition_variable_any done_condition;
  bool done = false;
  int error = 0;
  Addresses addresses;
};

// getaddrinfo() cannot be interrupted and may take as long as the resolver likes, so a name is looked up in a
// thread that is left to itself when nobody waits for its answer any more.
Addresses resolve(const std::string& host, const std::string& address, unsigned port, int family,
                  const StopEvent& stop, Deadline deadline) {
  Addresses numeric;
  if (look_up(address, port, family, AI_NUMERICHOST, numeric) == 0) return numeric;

  const auto look = std::make_shared<LookUp>();
  std::thread([look, address, port, family] {
    Addresses found;
    const int error = look_up(address, port, family, AI_ADDRCONFIG, found);
    const std::lock_guard lock(look->mutex);
    look->done = true;
    look->error = error;
    look->addresses = std::move(found);
    look->done_condition.notify_all();
  }).detach();

  std::unique_lock lock(look->mutex);
  look->done_condition.wait_until(lock, stop.token(), deadline.time_point(), [&] { return look->done; });
  stop.check();
  if (!look->done) fail(host, "looking up the name " + address + " took too long");
  if (look->error != 0) fail(host, "the name " + address + ": " + ::gai_strerror(look->error));
  return std::move(look->addresses);
}

std::string numeric_name(const addrinfo& address) {
  std::array<char, NI_MAXHOST> host{};
  if (::getnameinfo(address.ai_addr, address.ai_addrlen, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST) !=
      0) {
    return "an address";
  }
  return host.data();
}

// Returns 0 or an errno.
int connect_one(const UniqueFd& fd, const addrinfo& address, const StopEvent& stop, Deadline deadline) {
  if (::connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS && errno != EINTR) return errno;
  for (;;) {
    std::array<pollfd, 2> fds{
        {{.fd = fd.get(), .events = POLLOUT, .revents = 0}, {.fd = stop.fd(), .events = POLLIN, .revents = 0}}};
    const int ready = ::poll(fds.data(), fds.size(), deadline.poll_timeout());
    stop.check();
    if (ready < 0 && errno != EINTR) return errno;
    if (fds[0].revents != 0 && ready > 0) break;
    if (deadline.passed()) return ETIMEDOUT;
  }
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

void set_option(const UniqueFd& fd, int level, int option, int value) {
  // All of these only tune; a kernel that does not know one is no reason to fail.
  ::setsockopt(fd.get(), level, option, &value, sizeof value);
}

}  // namespace

UniqueFd tcp_connect(const std::string& host, const std::string& address, unsigned port, int family,
                     std::chrono::seconds keepalive, const StopEvent& stop, Deadline deadline) {
  stop.check();
  const Addresses addresses = resolve(host, address, port, family, stop, deadline);
  std::string causes;
  for (const addrinfo* at = addresses.get(); at != nullptr; at = at->ai_next) {
    UniqueFd fd(::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    int error = fd ? 0 : errno;
    if (fd) {
      // The first of several addresses must not use up all of the time.
      const Deadline patience =
          at->ai_next == nullptr ? deadline : deadline.sooner(Deadline::after(std::chrono::seconds(5)));
      error = connect_one(fd, *at, stop, patience);
    }
    if (error == 0) {
      set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
      if (keepalive.count() > 0) {
        const int seconds = static_cast<int>(keepalive.count());
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
        set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds);
        set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
        set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 4000 * seconds);
      }
      return fd;
    }
    if (!causes.empty()) causes += "; ";
    causes += numeric_name(*at) + " port " + std::to_string(port) + ": " +
              (error == ETIMEDOUT ? "no answer" : std::strerror(error));
    if (deadline.passed()) break;
  }
  fail(host, causes);
}

}  // namespace crossover
