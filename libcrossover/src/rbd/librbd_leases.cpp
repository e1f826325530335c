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
  ImageLease(rbd::IoContext context, const LeasedImage& image, std::string cookie, std::string holder, seconds duration)
      : context_(std::move(context)),
        object_("rbd_header." + image.id),
        subject_(to_string(image.image.spec)),
        cookie_(std::move(cookie)),
        holder_(std::move(holder)),
        duration_(duration) {
    int result = lock(0);
    if (result == -EBUSY && break_dead()) result = lock(0);
    if (result == -EBUSY) throw_locked();
    if (result < 0) throw rbd::error_of_return(result, "lease image", subject_);
  }

  ~ImageLease() { rados_unlock(context_.get(), object_.c_str(), lock_name, cookie_.c_str()); }

  ImageLease(const ImageLease&) = delete;
  ImageLease& operator=(const ImageLease&) = delete;

  enum class Renewal { renewed, failed, gone };

  [[nodiscard]] Renewal renew() const {
    const int result = lock(LIBRADOS_LOCK_FLAG_MUST_RENEW);
    // It ran out or was broken: nobody has it, or somebody else.
    if (result == -ENOENT || result == -EBUSY) return Renewal::gone;
    return result == 0 ? Renewal::renewed : Renewal::failed;
  }

 private:
  [[nodiscard]] int lock(std::uint8_t flags) const {
    timeval time = timeval_of(duration_);
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
  seconds duration_;
};

class LibrbdLease final : public Lease {
 public:
  LibrbdLease(std::vector<std::unique_ptr<ImageLease>> images, LeaseTimes times, steady_clock::time_point taken,
              std::function<void()> lost)
      : images_(std::move(images)),
        times_(times),
        renewed_(taken),
        lost_(std::move(lost)),
        watching_([this](const std::stop_token& stop) { watch(stop); }),
        renewing_([this](const std::stop_token& stop) { renew(stop); }) {}

 private:
  void renew(const std::stop_token& stop) {
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, stop, times_.renewal, [] { return false; });
      }
      if (stop.stop_requested()) return;
      const auto begin = steady_clock::now();
      bool all = true;
      for (const auto& image : images_) {
        const auto ended = image->renew();
        if (ended == ImageLease::Renewal::gone) return lose();
        all = all && ended == ImageLease::Renewal::renewed;
      }
      if (!all) continue;
      const std::scoped_lock lock(mutex_);
      renewed_ = begin;
      changed_.notify_all();
    }
  }

  /// A renewal can take longer than the lease lasts: whoever it is for must know by then.
  void watch(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested() && !is_lost_) {
      const auto end = renewed_ + times_.duration;
      if (steady_clock::now() >= end) {
        lock.unlock();
        return lose();
      }
      changed_.wait_until(lock, stop, end, [&] { return is_lost_ || renewed_ + times_.duration != end; });
    }
  }

  void lose() {
    {
      const std::scoped_lock lock(mutex_);
      if (std::exchange(is_lost_, true)) return;
      changed_.notify_all();
    }
    lost_();
  }

  std::vector<std::unique_ptr<ImageLease>> images_;
  LeaseTimes times_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  steady_clock::time_point renewed_;  // when what was renewed last was asked for
  bool is_lost_ = false;
  std::function<void()> lost_;
  std::jthread watching_;  // these last: they use everything above
  std::jthread renewing_;
};

}  // namespace

LibrbdLeases::LibrbdLeases(Open open, LeaseTimes times)
    : open_(std::move(open)), times_(times), holder_(describe_this_process()) {}

std::unique_ptr<Lease> LibrbdLeases::take(std::span<const LeasedImage> images, std::function<void()> lost) {
  std::random_device random;
  const std::string cookie = fmt::format("{:08x}{:08x} {}", random(), random(), holder_);
  std::vector<std::unique_ptr<ImageLease>> taken;
  taken.reserve(images.size());
  // The first one may be due before the last one is taken.
  const auto begin = steady_clock::now();
  for (const LeasedImage& image : images) {
    taken.push_back(
        std::make_unique<ImageLease>(open_(image.image.access).context(image.image.spec), image, cookie, holder_,
                                     times_.duration));
  }
  return std::make_unique<LibrbdLease>(std::move(taken), times_, begin, std::move(lost));
}

}  // namespace crossover
