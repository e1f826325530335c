#include "pve/node_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "crossover/error.hpp"

namespace crossover {

namespace {

namespace fs = std::filesystem;

/// /etc/pve has room for 1 MiB in a file; one that is longer is not what it is taken for.
constexpr std::size_t max_bytes = std::size_t{1} << 20;
constexpr int max_links = 8;

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  [[nodiscard]] int get() const noexcept { return number_; }
  /// Closes it now; some file systems tell of a failed write only then.
  bool close() { return ::close(std::exchange(number_, -1)) == 0; }

 private:
  int number_;
};

Error failed(const char* operation, const std::string& path, int error_number) {
  const bool refused = error_number == EACCES || error_number == EPERM;
  std::array<char, 256> words{};
  return {refused ? ErrorCode::permission : ErrorCode::io,      operation, path,
          strerror_r(error_number, words.data(), words.size()), false,     error_number};
}

/// A new file beside another one, gone again unless it took its place.
class NewFile {
 public:
  explicit NewFile(const std::string& beside) {
    std::random_device random;
    path_ = fmt::format("{}.tmp.{:08x}{:08x}", beside, random(), random());
  }
  ~NewFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  /// `old` is the file it is to replace; null: there is none.
  void write(const std::string& bytes, const struct stat* old) const {
    Descriptor file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (file.get() < 0) throw failed("make", path_, errno);
    struct stat own {};
    if (::fstat(file.get(), &own) != 0) throw failed("look at", path_, errno);
    // In /etc/pve they are the same already, and cannot be set.
    if (old != nullptr && (own.st_uid != old->st_uid || own.st_gid != old->st_gid) &&
        ::fchown(file.get(), old->st_uid, old->st_gid) != 0) {
      throw failed("give the owner to", path_, errno);
    }
    if (old != nullptr && (own.st_mode & 07777) != (old->st_mode & 07777) &&
        ::fchmod(file.get(), old->st_mode & 07777) != 0) {
      throw failed("give the mode to", path_, errno);
    }
    for (std::size_t done = 0; done < bytes.size();) {
      const ssize_t count = ::write(file.get(), bytes.data() + done, bytes.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) throw failed("write", path_, count < 0 ? errno : EIO);
      done += static_cast<std::size_t>(count);
    }
    if (::fsync(file.get()) != 0) throw failed("flush", path_, errno);
    if (!file.close()) throw failed("write", path_, errno);
  }

  void take_place_of(const std::string& path) {
    if (::rename(path_.c_str(), path.c_str()) != 0) throw failed("replace", path, errno);
    path_.clear();
    // The name, too, survives a power failure; a file system that does not know of that has it so anyway.
    const Descriptor folder(::open(fs::path(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.get() >= 0) static_cast<void>(::fsync(folder.get()));
  }

 private:
  std::string path_;
};

}  // namespace

std::string NodeFiles::resolve(const std::string& path) {
  fs::path file(path);
  std::error_code none;
  for (int links = 0; fs::is_symlink(fs::symlink_status(file, none)); ++links) {
    if (links == max_links) throw failed("follow", path, ELOOP);
    const fs::path target = fs::read_symlink(file, none);
    if (none) throw failed("follow", path, none.value());
    file = target.is_absolute() ? target : file.parent_path() / target;
  }
  const fs::path folder = fs::canonical(file.has_parent_path() ? file.parent_path() : fs::path("."), none);
  if (none) throw failed("find the folder of", path, none.value());
  return folder / file.filename();
}

std::optional<std::string> NodeFiles::read(const std::string& path) {
  // Not to wait for whoever is to write to a pipe.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.get() < 0) {
    if (errno == ENOENT) return std::nullopt;
    throw failed("read", path, errno);
  }
  struct stat state {};
  if (::fstat(file.get(), &state) != 0) throw failed("read", path, errno);
  if (!S_ISREG(state.st_mode)) throw Error(ErrorCode::io, "read", path, "it is no regular file");
  std::string bytes;
  std::array<char, 65536> block{};
  for (;;) {
    const ssize_t count = ::read(file.get(), block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw failed("read", path, errno);
    if (count == 0) return bytes;
    bytes.append(block.data(), static_cast<std::size_t>(count));
    if (bytes.size() > max_bytes) throw Error(ErrorCode::io, "read", path, "it is longer than 1 MiB");
  }
}

bool NodeFiles::replace(const std::string& path, const std::optional<std::string>& expected,
                        const std::string& wanted) {
  const std::string file = resolve(path);
  struct stat old {};
  const bool exists = ::stat(file.c_str(), &old) == 0;
  if (!exists && errno != ENOENT) throw failed("look at", file, errno);
  NewFile made(file);
  made.write(wanted, exists ? &old : nullptr);
  if (read(file) != expected) return false;
  made.take_place_of(file);
  return true;
}

void NodeFiles::remove(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw failed("remove", path, errno);
}

}  // namespace crossover
