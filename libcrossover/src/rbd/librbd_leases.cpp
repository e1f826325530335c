#include "rbd/librbd_leases.hpp"

#include <fmt/format.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>
#include <random>
#include <sstream>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "rbd/rbd_error.hpp"

namespace crossover {

namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr const char* lock_name = "crossover.run";
constexpr seconds duration{30};
constexpr seconds renewal{10};

timeval timeval_of(seconds time) {
  timeval out{};
  out.tv_sec = time.count();
  return out;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// When the process began, in ticks since boot; empty if there is none. Numbers of processes are used again.
std::string start_of(const std::string& pid) {
  std::string line = first_line("/proc/" + pid + "/stat");
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return {};
  // The 22nd field; the third comes after the name.
  std::istringstream fields(line.substr(name_end + 1));
  const std::vector<std::string> words{std::istream_iterator<std::string>(fields), {}};
  return words.size() > 19 ? words[19] : std::string();
}

/// Tells the set of processes a number belongs to from every other one.
std::string processes_here() {
  std::error_code ignored;
  const std::string names = std::filesystem::read_symlink("/proc/self/ns/pid", ignored).string();
  return first_line("/proc/sys/kernel/random/boot_id") + "/" + names;
}

std::string describe_this_process() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  const std::string pid = std::to_string(::getpid());
  return fmt::format("{} {} {} {}", host.data(), pid, start_of(pid), processes_here());
}

/// What a lease's description says.
struct Holder {
  std::string host;
  std::string pid;
  std::string start;
  std::string processes;

  explicit Holder(const std::string& description) {
    std::istringstream words(description);
    words >> host >> pid >> start >> processes;
  }

  [[nodiscard]] bool is_gone() const {
    return !start.empty() && processes == processes_here() && start_of(pid) != start;
  }
};

struct Locker {
  std::string client;
  std::string cookie;
};

/// A lease on one image.
class ImageLease {
 public:
  ImageLease(rbd::IoContext context, const LeasedImage& image, std::string cookie, std::string holder)
      : context_(std::move(context)),
        object_("rbd_header." + image.id),
        subject_(to_string(image.image.spec)),
        cookie_(std::move(cookie)),
        holder_(std::move(holder)) {
    int result = lock(0);
    if (result == -EBUSY && break_dead()) result = lock(0);
    if (result == -EBUSY) throw_locked();
    if (result < 0) throw rbd::error_of_return(result, "lease image", subject_);
  }

  ~ImageLease() { rados_unlock(context_.get(), object_.c_str(), lock_name, cookie_.c_str()); }

  ImageLease(const ImageLease&) = delete;
  ImageLease& operator=(const ImageLease&) = delete;

  [[nodiscard]] bool renew() const { return lock(LIBRADOS_LOCK_FLAG_MUST_RENEW) == 0; }

 private:
  [[nodiscard]] int lock(std::uint8_t flags) const {
    timeval time = timeval_of(duration);
    return rados_lock_exclusive(context_.get(), object_.c_str(), lock_name, cookie_.c_str(), holder_.c_str(), &time,
                                flags);
  }

  /// Who has it; nothing if nobody has it any more.
  [[nodiscard]] std::optional<Locker> locker() const {
    int exclusive = 0;
    std::array<char, 4096> tag{};
    std::array<char, 4096> clients{};
    std::array<char, 4096> cookies{};
    std::array<char, 4096> addresses{};
    std::size_t tag_length = tag.size();
    std::size_t clients_length = clients.size();
    std::size_t cookies_length = cookies.size();
    std::size_t addresses_length = addresses.size();
    const ssize_t count = rados_list_lockers(context_.get(), object_.c_str(), lock_name, &exclusive, tag.data(),
                                             &tag_length, clients.data(), &clients_length, cookies.data(),
                                             &cookies_length, addresses.data(), &addresses_length);
    if (count <= 0) return std::nullopt;
    return Locker{clients.data(), cookies.data()};
  }

  /// The holder's description is its cookie's second part: listing lockers does not tell descriptions.
  static Holder holder_of(const Locker& locker) {
    const std::size_t blank = locker.cookie.find(' ');
    return Holder(blank == std::string::npos ? std::string() : locker.cookie.substr(blank + 1));
  }

  [[nodiscard]] bool break_dead() const {
    const auto found = locker();
    if (!found) return true;
    if (!holder_of(*found).is_gone()) return false;
    return rados_break_lock(context_.get(), object_.c_str(), lock_name, found->client.c_str(),
                            found->cookie.c_str()) == 0;
  }

  [[noreturn]] void throw_locked() const {
    const auto found = locker();
    const Holder holder = found ? holder_of(*found) : Holder("");
    throw Error(ErrorCode::locked, "lease image", subject_,
                holder.host.empty() ? std::string("its holder has not said who it is")
                                    : fmt::format("process {} on {}", holder.pid, holder.host),
                true);
  }

  rbd::IoContext context_;
  std::string object_;
  std::string subject_;
  std::string cookie_;
  std::string holder_;
};

class LibrbdLease final : public Lease {
 public:
  LibrbdLease(std::vector<std::unique_ptr<ImageLease>> images, std::function<void()> lost)
      : images_(std::move(images)),
        lost_(std::move(lost)),
        renewing_([this](const std::stop_token& stop) { renew(stop); }) {}

 private:
  void renew(const std::stop_token& stop) {
    auto renewed = steady_clock::now();
    std::mutex mutex;
    std::condition_variable_any never;
    for (;;) {
      std::unique_lock lock(mutex);
      never.wait_for(lock, stop, renewal, [&stop] { return stop.stop_requested(); });
      if (stop.stop_requested()) return;
      const auto begin = steady_clock::now();
      bool all = true;
      for (const auto& image : images_) all = image->renew() && all;
      if (all) renewed = begin;
      if (steady_clock::now() - renewed < duration) continue;
      lost_();
      return;
    }
  }

  std::vector<std::unique_ptr<ImageLease>> images_;
  std::function<void()> lost_;
  std::jthread renewing_;  // last: it uses everything above
};

}  // namespace

LibrbdLeases::LibrbdLeases(Open open) : open_(std::move(open)), holder_(describe_this_process()) {}

std::unique_ptr<Lease> LibrbdLeases::take(std::span<const LeasedImage> images, std::function<void()> lost) {
  std::random_device random;
  const std::string cookie = fmt::format("{:08x}{:08x} {}", random(), random(), holder_);
  std::vector<std::unique_ptr<ImageLease>> taken;
  taken.reserve(images.size());
  for (const LeasedImage& image : images) {
    taken.push_back(
        std::make_unique<ImageLease>(open_(image.image.access).context(image.image.spec), image, cookie, holder_));
  }
  return std::make_unique<LibrbdLease>(std::move(taken), std::move(lost));
}

}  // namespace crossover
