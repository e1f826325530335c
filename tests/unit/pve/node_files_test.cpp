#include "pve/node_files.hpp"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include "crossover/error.hpp"

using namespace crossover;

namespace {

namespace fs = std::filesystem;

struct Folder {
  Folder() {
    std::string name = fs::temp_directory_path() / "node-files-XXXXXX";
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = fs::canonical(name);
    fs::create_directories(path / "ssh");
    fs::create_directories(path / "priv");
  }
  ~Folder() { fs::remove_all(path); }

  void write(const fs::path& file, const std::string& bytes) const { std::ofstream(path / file) << bytes; }
  [[nodiscard]] std::size_t files() const {
    std::size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      count += fs::is_regular_file(entry.symlink_status()) ? 1 : 0;
    }
    return count;
  }

  fs::path path;
};

struct stat state_of(const fs::path& path) {
  struct stat state {};
  REQUIRE(stat(path.c_str(), &state) == 0);
  return state;
}

}  // namespace

TEST_CASE("a link stays, and the file it leads to is replaced") {
  const Folder folder;
  NodeFiles files;
  fs::create_symlink("../priv/keys", folder.path / "ssh/keys");
  fs::create_symlink(folder.path / "ssh/keys", folder.path / "keys");
  const std::string link = folder.path / "keys";
  const std::string target = folder.path / "priv/keys";
  CHECK(files.resolve(link) == target);
  CHECK_FALSE(files.read(link));
  // A link to what is not there yet.
  CHECK(files.replace(link, std::nullopt, "one\n"));
  CHECK(files.read(link) == "one\n");
  CHECK((state_of(target).st_mode & 07777) == 0600);
  CHECK(files.replace(link, "one\n", std::string("two\0\xff", 5)));
  CHECK(files.read(target) == std::string("two\0\xff", 5));
  CHECK(fs::is_symlink(folder.path / "ssh/keys"));
  CHECK(fs::is_symlink(link));
  CHECK(folder.files() == 1);
}

TEST_CASE("mode and owner stay") {
  const Folder folder;
  NodeFiles files;
  const fs::path file = folder.path / "keys";
  folder.write("keys", "a");
  REQUIRE(chmod(file.c_str(), 0640) == 0);
  const bool root = geteuid() == 0;
  if (root) REQUIRE(chown(file.c_str(), 7, 8) == 0);
  CHECK(files.replace(file, "a", "b"));
  CHECK((state_of(file).st_mode & 07777) == 0640);
  if (root) {
    CHECK(state_of(file).st_uid == 7);
    CHECK(state_of(file).st_gid == 8);
  }
}

TEST_CASE("what somebody else wrote is not replaced") {
  const Folder folder;
  NodeFiles files;
  const std::string file = folder.path / "keys";
  CHECK_FALSE(files.replace(file, "a", "b"));
  CHECK_FALSE(files.read(file));
  folder.write("keys", "c");
  CHECK_FALSE(files.replace(file, "a", "b"));
  CHECK_FALSE(files.replace(file, std::nullopt, "b"));
  CHECK(files.read(file) == "c");
  CHECK(folder.files() == 1);
  files.remove(file);
  files.remove(file);
  CHECK_FALSE(files.read(file));
}

TEST_CASE("what is no file, or no place for one, is an error and leaves nothing") {
  const Folder folder;
  NodeFiles files;
  CHECK_THROWS_AS(static_cast<void>(files.read(folder.path)), Error);
  CHECK_THROWS_AS(static_cast<void>(files.replace(folder.path / "none/keys", std::nullopt, "x")), Error);
  REQUIRE(mkfifo((folder.path / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_AS(static_cast<void>(files.read(folder.path / "pipe")), Error);
  fs::create_symlink("round", folder.path / "round");
  CHECK_THROWS_AS(static_cast<void>(files.resolve(folder.path / "round")), Error);
  folder.write("long", std::string((std::size_t{1} << 20) + 1, 'x'));
  CHECK_THROWS_AS(static_cast<void>(files.read(folder.path / "long")), Error);
  CHECK(folder.files() == 1);
}
