// Every wrong option is refused by its name, its value, and what is expected.
#include "plan/mirror_request.hpp"

#include <doctest/doctest.h>

#include <functional>

#include "crossover/error.hpp"

using namespace crossover;

namespace {

MirrorOptions good() {
  MirrorOptions options;
  options.vmid = "100";
  options.destination = "w1";
  return options;
}

}  // namespace

TEST_CASE("options as they are given") {
  MirrorOptions options = good();
  options.vmid = "100,101:201";
  options.exclude_vmids = "1100,300";
  options.prefix_id = "99";
  options.keep_local = "2d";
  options.keep_remote = "1w";
  options.rewrite = {"s/a/b/", "s,c,d,g"};
  options.parallel = "8";
  options.memory = "1g";
  options.bandwidth_limit = "12M";
  options.transport = "direct";
  options.destination_conf = "/root/west.conf";
  options.job_name = "Nach Mitternacht (ä)";
  const MirrorRequest request = parse_options(options);
  CHECK(request.vmids.guests == std::vector<VmidPair>{{100, {}}, {101, 201}});
  CHECK_FALSE(request.vmids.all);
  CHECK(request.excluded == std::set<Vmid>{300, 1100});
  CHECK(request.keep_local.window.length == std::chrono::hours(48));
  CHECK(request.keep_remote.window.length == std::chrono::hours(168));
  CHECK(request.rewrite.size() == 2);
  CHECK(request.job_label == "nachmitternac");
  CHECK(request.lock_wait == std::chrono::seconds(60));
  CHECK(request.freeze_timeout == std::chrono::seconds(10));
  CHECK(request.no_agent == NoAgent::pause);
  CHECK(request.pool == "rbd");
  CHECK(request.parallel == 8);
  CHECK(request.memory_bytes == std::uint64_t{1} << 30);
  CHECK(request.bandwidth_limit == std::uint64_t{12} << 20);
  CHECK(parse_options(good()).bandwidth_limit == 0);
  CHECK(parse_options(good()).memory_bytes / parse_options(good()).parallel == std::uint64_t{64} << 20);
  CHECK(parse_options(good()).job_label == "default");
  CHECK(request.stall_timeout == std::chrono::minutes(5));
  MirrorOptions tagged = good();
  tagged.vmid.clear();
  tagged.tag = "prod";
  CHECK(parse_options(tagged).vmids.all);
}

TEST_CASE("a transfer that --bwlimit makes slow is not taken for one that stands still") {
  MirrorOptions options = good();
  options.parallel = "4";
  options.bandwidth_limit = "16K";
  CHECK(parse_options(options).stall_timeout == std::chrono::seconds(2048));
  options.parallel = "1";
  CHECK(parse_options(options).stall_timeout == std::chrono::seconds(512));
  options.stall_timeout = "1h";
  CHECK(parse_options(options).stall_timeout == std::chrono::hours(1));
  options.stall_timeout = "0s";
  CHECK(parse_options(options).stall_timeout == std::chrono::seconds(0));
}

TEST_CASE("options that are wrong") {
  struct Wrong {
    std::function<void(MirrorOptions&)> change;
    std::vector<const char*> words;
  };
  const Wrong cases[] = {
      {[](MirrorOptions& o) { o.vmid = ""; }, {"--vmid", "missing"}},
      {[](MirrorOptions& o) { o.vmid = "100,,101"; }, {"--vmid", "100,,101", "empty"}},
      {[](MirrorOptions& o) { o.vmid = "99"; }, {"--vmid", "'99'", "100 to 999999999"}},
      {[](MirrorOptions& o) { o.vmid = "0100"; }, {"--vmid", "'0100'", "leading zeros"}},
      {[](MirrorOptions& o) { o.vmid = "100,100"; }, {"--vmid", "twice"}},
      {[](MirrorOptions& o) { o.vmid = "100:200,101:200"; }, {"--vmid", "200", "100", "101"}},
      {[](MirrorOptions& o) { o.vmid = "web"; }, {"--vmid", "'web'"}},
      {[](MirrorOptions& o) { o.exclude_vmids = "100,x"; }, {"--excludevmids", "'x'"}},
      {[](MirrorOptions& o) { o.exclude_vmids = "100:200"; }, {"--excludevmids", "'100:200'"}},
      {[](MirrorOptions& o) { o.prefix_id = "0"; }, {"--prefixid", "'0'"}},
      {[](MirrorOptions& o) { o.prefix_id = "9a"; }, {"--prefixid", "'9a'"}},
      {[](MirrorOptions& o) { o.prefix_id = "1234567"; }, {"--prefixid", "'1234567'", "999999999"}},
      {[](MirrorOptions& o) { o.destination = ""; }, {"--destination", "missing"}},
      {[](MirrorOptions& o) { o.parallel = "0"; }, {"--parallel", "'0'", "1 to 64"}},
      {[](MirrorOptions& o) { o.parallel = "65"; }, {"--parallel", "'65'"}},
      {[](MirrorOptions& o) { o.parallel = "two"; }, {"--parallel", "'two'"}},
      {[](MirrorOptions& o) { o.memory = "1X"; }, {"--memory=1X", "no number of bytes", "64M"}},
      {[](MirrorOptions& o) { o.memory = "63M"; }, {"--memory", "4 transfers", "64.00 MiB"}},
      {[](MirrorOptions& o) { o.memory = "9999999999G"; }, {"--memory", "too large"}},
      {[](MirrorOptions& o) { o.bandwidth_limit = "-1"; }, {"--bwlimit=-1", "no number of bytes"}},
      {[](MirrorOptions& o) { o.bandwidth_limit = "100"; }, {"--bwlimit", "a second", "16.00 KiB"}},
      {[](MirrorOptions& o) { o.compress = "gzip"; }, {"--compress", "'gzip'", "auto, zstd, none"}},
      {[](MirrorOptions& o) { o.transport = "scp"; }, {"--transport", "'scp'", "auto, agent, rbd, direct"}},
      {[](MirrorOptions& o) { o.transport = "direct"; }, {"--destination-conf", "--transport=direct"}},
      {[](MirrorOptions& o) { o.destination_conf = "x"; }, {"--destination-conf", "--transport=direct"}},
      {[](MirrorOptions& o) { o.pool = ""; }, {"--pool", "''", "pvesm status"}},
      {[](MirrorOptions& o) { o.pool = "a b"; }, {"--pool", "'a b'"}},
      {[](MirrorOptions& o) { o.pool = "a:b"; }, {"--pool", "'a:b'"}},
      {[](MirrorOptions& o) { o.keep_local = "7"; }, {"--keeplocal", "7", "unit"}},
      {[](MirrorOptions& o) { o.keep_remote = "-1d"; }, {"--keepremote", "-1d"}},
      {[](MirrorOptions& o) { o.keep_remote = "99999999d"; }, {"--keepremote", "100 years"}},
      {[](MirrorOptions& o) {
         o.rewrite = {"s/a/b/", "y/a/b/"};
       },
       {"--rewrite", "'y/a/b/'"}},
      {[](MirrorOptions& o) { o.rewrite = {"s/(/b/"}; }, {"--rewrite", "position"}},
      {[](MirrorOptions& o) { o.lock_wait = "soon"; }, {"--lock-wait", "soon"}},
      {[](MirrorOptions& o) { o.freeze_timeout = "0s"; }, {"--freeze-timeout", "0s"}},
      {[](MirrorOptions& o) { o.freeze_timeout = ""; }, {"--freeze-timeout"}},
      {[](MirrorOptions& o) { o.no_agent = "stop"; }, {"--no-agent", "'stop'", "pause, crash, fail"}},
      {[](MirrorOptions& o) {
         o.no_agent = "crash";
         o.require_freeze = true;
       },
       {"--require-freeze", "--no-agent=crash"}},
  };
  for (const Wrong& one : cases) {
    MirrorOptions options = good();
    one.change(options);
    CAPTURE(one.words.front());
    try {
      (void)parse_options(options);
      FAIL("it was accepted");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::usage);
      const std::string text = error.what();
      CAPTURE(text);
      for (const char* word : one.words) CHECK_MESSAGE(text.find(word) != std::string::npos, word);
    }
  }
}

TEST_CASE("a cephx user and its keyring are given together, for either side") {
  MirrorOptions options = good();
  CHECK_FALSE(parse_options(options).source_user);
  options.source_user = "a";
  options.source_keyring = "/a.keyring";
  options.destination_user = "b";
  options.destination_keyring = "/b.keyring";
  const MirrorRequest request = parse_options(options);
  CHECK(request.source_user == CephUser{"a", "/a.keyring"});
  CHECK(request.destination_user == CephUser{"b", "/b.keyring"});
  for (auto [member, value] : {std::pair{&MirrorOptions::source_user, ""},
                               {&MirrorOptions::source_keyring, ""},
                               {&MirrorOptions::source_keyring, "a.keyring"},
                               {&MirrorOptions::source_user, "client.a"},
                               {&MirrorOptions::destination_user, ""},
                               {&MirrorOptions::destination_keyring, ""}}) {
    MirrorOptions wrong = options;
    wrong.*member = value;
    CAPTURE(value);
    CHECK_THROWS_AS(parse_options(wrong), Error);
  }
}
