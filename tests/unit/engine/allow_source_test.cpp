#include "engine/allow_source.hpp"

#include <doctest/doctest.h>

#include <fmt/format.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/memory_image_store.hpp"
#include "support/public_keys.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

constexpr const char* key_path = "/root/.ssh/authorized_keys";
constexpr const char* keys = "/etc/pve/priv/authorized_keys";
constexpr const char* keyring = "/etc/pve/priv/ceph.client.crossover.keyring";

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Files in memory. What somebody else does between a look and a replacement is `meanwhile`.
class MemoryFiles final : public TextFiles {
 public:
  std::map<std::string, std::string> files;
  std::function<void(const std::string& path)> meanwhile;
  std::function<void(const std::string& path)> afterwards;
  std::string unwritable;

  std::string resolve(const std::string& path) override { return path == key_path ? keys : path; }
  std::optional<std::string> read(const std::string& path) override {
    const auto found = files.find(resolve(path));
    return found == files.end() ? std::nullopt : std::optional(found->second);
  }
  bool replace(const std::string& path, const std::optional<std::string>& expected,
               const std::string& wanted) override {
    if (path == unwritable) throw Error(ErrorCode::io, "replace", path, "Read-only file system");
    if (meanwhile) meanwhile(path);
    if (read(path) != expected) return false;
    files[resolve(path)] = wanted;
    if (afterwards) afterwards(path);
    return true;
  }
  void remove(const std::string& path) override { files.erase(path); }
};

class MemoryUsers final : public CephUsers {
 public:
  std::map<std::string, CephUserState> users;
  bool unreachable = false;
  int made = 0;

  std::optional<CephUserState> find(const std::string& user, std::stop_token stop) override {
    if (stop.stop_requested()) throw Cancelled{};
    if (unreachable) throw Error(ErrorCode::unreachable, "find cephx user", user, "no monitor answers");
    const auto found = users.find(user);
    return found == users.end() ? std::nullopt : std::optional(found->second);
  }
  CephUserState create(const std::string& user, const CephCaps& caps, std::stop_token /*stop*/) override {
    return users[user] = {fmt::format("AQsecret{}==", ++made), caps};
  }
  void remove(const std::string& user, std::stop_token /*stop*/) override { users.erase(user); }
};

struct Stage final : ImageStores {
  MemoryFiles files;
  MemoryUsers users;
  MemoryImageStore store;
  std::set<std::string> opened_as;
  std::stop_source stop;
  StorageConfig storages = parse_storage_config(
      "rbd: data\n\tpool p1\n\n"
      "rbd: ec\n\tpool p2\n\tdata-pool p3\n\n"
      "rbd: far\n\tpool p4\n\tmonhost 192.0.2.1\n\tusername backup\n\n"
      "dir: local\n\tpath /var/lib/vz\n\n");

  Stage() {
    files.files["/k.pub"] = ed25519_key.line() + " root@source\n";
    files.files["/k2.pub"] = rsa_key.line() + " root@other\n";
    files.files[keys] = "ssh-rsa AAAA root@pve04\n";
  }

  ImageStore& open(const CephAccess& access) override {
    opened_as.insert(access.user + " " + access.keyring);
    return store;
  }
  void set_transfer_memory(std::uint64_t /*bytes*/) override {}

  AllowSourcePorts ports() {
    return {files, users, *this,
            [this] {
              ClusterInventory cluster;
              cluster.storages = storages;
              cluster.ceph_files = {"data.keyring", "ec.keyring", "far.keyring"};
              return cluster;
            },
            [number = std::uint64_t{0}]() mutable { return ++number; }};
  }

  AllowSourceOptions options{
      .name = "siteA", .key = "/k.pub", .pool = "data", .vmid = "99000-99999", .user = "crossover"};
  AllowSourceOptions other{
      .name = "siteB", .key = "/k2.pub", .pool = "data", .vmid = "98000-98999", .user = "crossover"};

  AllowSourceReport allow(const AllowSourceOptions& given) {
    return allow_source(parse_options(given, files), key_path, ports(), stop.get_token());
  }
  AllowSourceReport allow() { return allow(options); }
  AllowSourceReport remove(const std::string& name = "siteA", bool dry_run = false) {
    return remove_source(name, dry_run, key_path, ports(), stop.get_token());
  }
};

}  // namespace

TEST_CASE("one command makes the user, tries it, and lets the source in; another takes all of it back") {
  Stage stage;
  const auto before = stage.files.files;
  const AllowSourceReport report = stage.allow();
  CHECK(report.outcome == Outcome::ok);
  CHECK(report.error.empty());
  CHECK(report.file == keys);
  CHECK(report.shared);
  CHECK(report.changed);
  CHECK(stage.files.files.at(keys) == before.at(keys) + report.line + "\n");
  CHECK(has(report.line,
            "--user crossover --keyring /etc/pve/priv/ceph.client.crossover.keyring\",restrict ssh-ed25519 "));
  CHECK(stage.users.users.at("crossover").caps == CephCaps{{"mon", "profile rbd"}, {"osd", "profile rbd pool=p1"}});
  CHECK(parse_source_keyring(stage.files.files.at(keyring), "crossover") == SourceKeyring{"AQsecret1==", true});
  CHECK(stage.opened_as == std::set<std::string>{std::string("crossover ") + keyring});
  CHECK(stage.store.calls("create") == 1);
  CHECK(stage.store.images().empty());
  CHECK_FALSE(has(to_json(report), "AQsecret"));

  const auto there = stage.files.files;
  const AllowSourceReport again = stage.allow();
  CHECK(again.outcome == Outcome::ok);
  CHECK_FALSE(again.changed);
  CHECK(again.line == report.line);
  CHECK(stage.files.files == there);
  CHECK(stage.users.made == 1);

  const AllowSourceReport removed = stage.remove();
  CHECK(removed.outcome == Outcome::ok);
  CHECK(removed.line == report.line);
  CHECK(stage.files.files == before);
  CHECK(stage.users.users.empty());
  CHECK_THROWS_AS(stage.remove(), Error);
}

TEST_CASE("a dry run changes nothing, and says all of it") {
  Stage stage;
  const auto before = stage.files.files;
  stage.options.dry_run = true;
  const AllowSourceReport report = stage.allow();
  CHECK(report.outcome == Outcome::planned);
  CHECK(report.changed);
  CHECK(has(report.line, "--name siteA"));
  REQUIRE(report.steps.size() == 2);
  CHECK(has(report.steps[0], "make cephx user client.crossover with mon 'profile rbd', osd 'profile rbd pool=p1'"));
  CHECK(has(report.steps[1], "try storage data as client.crossover"));
  CHECK(stage.files.files == before);
  CHECK(stage.users.users.empty());
  CHECK(stage.store.calls("create") == 0);

  stage.options.dry_run = false;
  stage.allow();
  const auto there = stage.files.files;
  const AllowSourceReport removal = stage.remove("siteA", true);
  CHECK(removal.outcome == Outcome::planned);
  CHECK(has(removal.steps.at(0), "remove cephx user client.crossover"));
  CHECK(stage.files.files == there);
  CHECK(stage.users.users.size() == 1);
}

TEST_CASE("without a user each storage's own is tried, and none is made") {
  Stage stage;
  stage.options.user.clear();
  stage.options.pool = "data,far";
  CHECK(stage.allow().outcome == Outcome::ok);
  CHECK(stage.users.made == 0);
  CHECK(stage.opened_as ==
        std::set<std::string>{"admin /etc/pve/priv/ceph/data.keyring", "backup /etc/pve/priv/ceph/far.keyring"});
  CHECK_FALSE(has(stage.files.files.at(keys), "--user"));
}

TEST_CASE("the user has rights on data pools too, and on no other cluster's") {
  Stage stage;
  stage.options.pool = "ec,far,data";
  CHECK(stage.allow().outcome == Outcome::ok);
  CHECK(stage.users.users.at("crossover").caps.at("osd") ==
        "profile rbd pool=p1, profile rbd pool=p2, profile rbd pool=p3");
  CHECK(stage.opened_as.contains("backup /etc/pve/priv/ceph/far.keyring"));
  Stage far;
  far.options.pool = "far";
  CHECK_THROWS_AS(far.allow(), Error);
}

TEST_CASE("a user that is there stays as it is") {
  Stage stage;
  const CephUserState by_hand{"AQhand==",
                              {{"mds", "allow r"}, {"mon", "profile rbd"}, {"osd", "profile rbd pool=p2"}}};
  stage.users.users["crossover"] = by_hand;
  const auto before = stage.files.files;
  const AllowSourceReport less = stage.allow();
  CHECK(less.outcome == Outcome::conflict);
  CHECK(less.error ==
        "cephx user has less: client.crossover is there and lacks osd 'profile rbd pool=p1'; ceph auth caps "
        "client.crossover mds 'allow r' mon 'profile rbd' osd 'profile rbd pool=p2, profile rbd pool=p1' gives it "
        "that "
        "besides what it has");
  CHECK(less.steps.empty());
  CHECK(stage.files.files == before);
  CHECK(stage.users.users.at("crossover") == by_hand);

  stage.users.users["crossover"].caps["osd"] = "profile rbd";
  SUBCASE("without a keyring, which is written and tells nothing of who made it") {
    CHECK(stage.allow().outcome == Outcome::ok);
    CHECK(parse_source_keyring(stage.files.files.at(keyring), "crossover") == SourceKeyring{"AQhand==", false});
    const AllowSourceReport removed = stage.remove();
    CHECK(has(removed.steps.at(0), "this command has not made"));
    CHECK(stage.users.users.contains("crossover"));
    CHECK(stage.files.files.contains(keyring));
  }
  SUBCASE("with its keyring") {
    stage.files.files[keyring] = "[client.crossover]\n\tkey = AQhand==\n";
    CHECK(stage.allow().outcome == Outcome::ok);
    CHECK(stage.files.files.at(keyring) == "[client.crossover]\n\tkey = AQhand==\n");
  }
  SUBCASE("with another key in the keyring") {
    stage.files.files[keyring] = "[client.crossover]\n\tkey = AQother==\n";
    const AllowSourceReport other = stage.allow();
    CHECK(other.outcome == Outcome::conflict);
    CHECK(other.error.starts_with("keyring taken: "));
    CHECK_FALSE(has(other.error, "AQ"));
  }
}

TEST_CASE("a keyring without its user is somebody's, unless it has the mark") {
  Stage stage;
  stage.files.files[keyring] = "[client.crossover]\n\tkey = AQold==\n";
  CHECK(stage.allow().error.starts_with("keyring taken: "));
  CHECK(stage.users.made == 0);
  stage.files.files[keyring] = render_source_keyring("crossover", "AQold==", true);
  CHECK(stage.allow().outcome == Outcome::ok);
  CHECK(parse_source_keyring(stage.files.files.at(keyring), "crossover").key == "AQsecret1==");
}

TEST_CASE("a user goes with the last source that has it, and only if it is the one that was made") {
  Stage stage;
  stage.allow();
  CHECK(stage.allow(stage.other).outcome == Outcome::ok);
  CHECK(stage.users.made == 1);
  const AllowSourceReport first = stage.remove();
  CHECK(has(first.steps.at(0), "which another source has"));
  CHECK(stage.users.users.size() == 1);
  SUBCASE("the last source") {
    CHECK(has(stage.remove("siteB").steps.at(0), "remove cephx user client.crossover and /etc/pve/priv/"));
    CHECK(stage.users.users.empty());
    CHECK_FALSE(stage.files.files.contains(keyring));
  }
  SUBCASE("made anew by hand meanwhile") {
    stage.users.users["crossover"].key = "AQanother==";
    CHECK(has(stage.remove("siteB").steps.at(0), "this command has not made"));
    CHECK(stage.users.users.size() == 1);
    CHECK(stage.files.files.contains(keyring));
  }
  SUBCASE("a storage has it") {
    stage.storages = parse_storage_config("rbd: data\n\tpool p1\n\tusername crossover\n\n");
    CHECK(has(stage.remove("siteB").steps.at(0), "which storage data has"));
    CHECK(stage.users.users.size() == 1);
  }
  SUBCASE("a line that cannot be told") {
    stage.files.files[keys] += "command=\"crossover agent --allow receive $X\" " + ecdsa256_key.line() + "\n";
    CHECK(has(stage.remove("siteB").steps.at(0), "which another source has"));
    CHECK(stage.users.users.size() == 1);
  }
  SUBCASE("Ceph does not answer") {
    stage.users.unreachable = true;
    const AllowSourceReport removed = stage.remove("siteB");
    CHECK(removed.outcome == Outcome::failed);
    CHECK(removed.changed);
    CHECK(removed.error_code == ErrorCode::unreachable);
    CHECK(has(removed.left_to_do.at(0), "ceph auth del client.crossover; rm /etc/pve/priv/"));
    CHECK_FALSE(has(stage.files.files.at(keys), "siteB"));
  }
}

TEST_CASE("a source that is replaced by one with another user lets go of the old one") {
  Stage stage;
  stage.allow();
  stage.options.user = "other";
  CHECK(stage.allow().outcome == Outcome::conflict);
  CHECK_FALSE(stage.users.users.contains("other"));
  stage.options.replace = true;
  const AllowSourceReport report = stage.allow();
  CHECK(report.outcome == Outcome::ok);
  CHECK_FALSE(stage.users.users.contains("crossover"));
  CHECK(stage.users.users.contains("other"));
  CHECK_FALSE(stage.files.files.contains(keyring));
}

TEST_CASE("what is refused or fails leaves nothing behind") {
  Stage stage;
  stage.allow(stage.other);
  stage.options.user = "second";
  const auto before = stage.files.files;
  SUBCASE("VMIDs of another source") {
    stage.options.vmid = "98500";
    const AllowSourceReport report = stage.allow();
    CHECK(report.outcome == Outcome::conflict);
    CHECK(report.error_code == ErrorCode::conflict);
    CHECK(report.error.starts_with("sources overlap: source siteB (line 2) has VMID 98500 on data already"));
    CHECK(report.line.empty());
    CHECK_FALSE(report.changed);
  }
  SUBCASE("rights that are not enough") {
    stage.store.fail_call("create", 1,
                          Error(ErrorCode::permission, "create image", "p1/x", "Operation not permitted"));
    try {
      stage.allow();
      FAIL("it went");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::permission);
      CHECK(has(error.what(), "try storage data as client.second: create image p1/x: Operation not permitted"));
    }
  }
  SUBCASE("content that cannot be written") {
    stage.store.fail_call("finish", 1, Error(ErrorCode::permission, "write", "p1/x", "Operation not permitted"));
    CHECK_THROWS_AS(stage.allow(), Error);
  }
  SUBCASE("a file that cannot be written") {
    stage.files.unwritable = keys;
    CHECK_THROWS_AS(stage.allow(), Error);
  }
  SUBCASE("a keyring that cannot be written") {
    stage.files.unwritable = source_keyring_path("second");
    CHECK_THROWS_AS(stage.allow(), Error);
  }
  SUBCASE("a conflict that came meanwhile") {
    stage.files.meanwhile = [&, done = false](const std::string& path) mutable {
      if (path != keys || std::exchange(done, true)) return;
      stage.files.files[keys] += ed25519_key.line() + " somebody\n";
    };
    CHECK(stage.allow().error.starts_with("key taken: line 3 of "));
    stage.files.files[keys] = before.at(keys);
  }
  SUBCASE("it is cancelled") {
    stage.files.meanwhile = [&](const std::string& /*path*/) { stage.stop.request_stop(); };
    CHECK_THROWS_AS(stage.allow(), Cancelled);
  }
  CHECK(stage.files.files == before);
  CHECK_FALSE(stage.users.users.contains("second"));
  CHECK(stage.store.images().empty());
}

TEST_CASE("an image that cannot be removed again is named") {
  Stage stage;
  stage.store.fail_call("remove", 1,
                        Error(ErrorCode::permission, "remove image", "p1/x", "Operation not permitted"));
  try {
    stage.allow();
    FAIL("it went");
  } catch (const Error& error) {
    CHECK(has(error.what(), "p1/crossover-probe-0000000000000001 is left there"));
  }
}

TEST_CASE("nobody's line is lost") {
  Stage stage;
  SUBCASE("one that came before ours was written") {
    int left = 3;
    stage.files.meanwhile = [&](const std::string& path) {
      if (path == keys && left-- > 0) stage.files.files[keys] += fmt::format("ssh-rsa B{} new\n", left);
    };
    const AllowSourceReport report = stage.allow();
    CHECK(report.outcome == Outcome::ok);
    CHECK(stage.files.files.at(keys) ==
          "ssh-rsa AAAA root@pve04\nssh-rsa B2 new\nssh-rsa B1 new\nssh-rsa B0 new\n" + report.line + "\n");
  }
  SUBCASE("ours, which somebody wrote over who had read the file before") {
    stage.files.afterwards = [&, done = false](const std::string& path) mutable {
      if (path == keys && !std::exchange(done, true))
        stage.files.files[keys] = "ssh-rsa AAAA root@pve04\nssh-rsa B x\n";
    };
    const AllowSourceReport report = stage.allow();
    CHECK(stage.files.files.at(keys) == "ssh-rsa AAAA root@pve04\nssh-rsa B x\n" + report.line + "\n");
  }
  SUBCASE("one that comes back when it was taken out") {
    stage.allow();
    const std::string with = stage.files.files.at(keys);
    stage.files.afterwards = [&, done = false](const std::string& path) mutable {
      if (path == keys && !std::exchange(done, true)) stage.files.files[keys] = with;
    };
    stage.remove();
    CHECK(stage.files.files.at(keys) == "ssh-rsa AAAA root@pve04\n");
  }
  SUBCASE("where it changes all the time") {
    stage.files.meanwhile = [&](const std::string& path) {
      if (path == keys) stage.files.files[keys] += "#\n";
    };
    CHECK_THROWS_AS(stage.allow(), Error);
    CHECK_FALSE(has(stage.files.files.at(keys), "siteA"));
    CHECK(stage.users.users.empty());
  }
}

TEST_CASE("options that make no sense say why") {
  Stage stage;
  const auto said = [&](auto change) -> std::string {
    AllowSourceOptions options = stage.options;
    change(options);
    try {
      static_cast<void>(parse_options(options, stage.files));
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::usage);
      return error.what();
    }
    return "";
  };
  CHECK(said([](AllowSourceOptions&) {}).empty());
  CHECK(has(said([](auto& options) { options.name = ""; }), "--name"));
  CHECK(has(said([](auto& options) { options.key = ""; }), "--key"));
  CHECK(has(said([](auto& options) { options.pool = ""; }), "--pool"));
  CHECK(has(said([](auto& options) { options.vmid = ""; }), "--vmid"));
  CHECK(has(said([](auto& options) { options.name = "a b"; }), "name"));
  CHECK(has(said([](auto& options) { options.key = "/none.pub"; }), "there is no file /none.pub"));
  CHECK(has(said([](auto& options) { options.pool = "data,\""; }), "storage id"));
  CHECK(has(said([](auto& options) { options.vmid = "99000-98000"; }), "ends before it begins"));
  CHECK(has(said([](auto& options) { options.user = "../x"; }), "--user"));
  CHECK(has(said([](auto& options) { options.user = "client.x"; }), "without 'client.'"));
  CHECK(has(said([](auto& options) { options.user = "admin"; }), "may do everything"));
  for (const char* pool : {"none", "local", "data,none"}) {
    CAPTURE(pool);
    stage.options.pool = pool;
    try {
      stage.allow();
      FAIL("it went");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::not_found);
    }
  }
}

TEST_CASE("sources are listed, whoever wrote their lines") {
  Stage stage;
  stage.allow();
  stage.files.files[keys] +=
      "command=\"crossover agent --allow=receive --pool=ec --vmid=500\" " + rsa_key.line() + "\n";
  stage.files.files[keys] += "command=\"crossover agent --allow receive $X\" ssh-dss AAAA\n";
  const AllowedSourceList list = list_sources(key_path, stage.files);
  CHECK(list.file == keys);
  CHECK(list.shared);
  REQUIRE(list.sources.size() == 3);
  const AllowedSource& own = list.sources[0];
  CHECK(own.line == 2);
  CHECK(own.name == "siteA");
  CHECK(own.storages == std::vector<std::string>{"data"});
  CHECK(own.vmids == "99000-99999");
  CHECK(own.user == "crossover");
  CHECK(own.fingerprint == ed25519_key.fingerprint);
  CHECK(own.restricted);
  CHECK(list.sources[1].name.empty());
  CHECK(list.sources[1].fingerprint == rsa_key.fingerprint);
  CHECK_FALSE(list.sources[1].restricted);
  CHECK_FALSE(list.sources[2].unreadable.empty());
  stage.files.files.clear();
  CHECK(list_sources(key_path, stage.files).sources.empty());
}
