#include "diff_command_line.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <vector>

using namespace crossover;
using namespace crossover::cli;

namespace {

using Words = std::vector<std::string>;

DiffInvocation accepted(const Words& words) {
  REQUIRE(is_diff_command(words));
  const auto parsed = parse_diff_command(words);
  if (const auto* answer = std::get_if<Answer>(&parsed)) FAIL(answer->text);
  return std::get<DiffInvocation>(parsed);
}

Answer refused(const Words& words) {
  REQUIRE(is_diff_command(words));
  const auto parsed = parse_diff_command(words);
  REQUIRE(std::holds_alternative<Answer>(parsed));
  CHECK(std::get<Answer>(parsed).to_stderr);
  return std::get<Answer>(parsed);
}

}  // namespace

TEST_CASE("export-diff in rbd's ways of saying it") {
  DiffInvocation expected;
  expected.request = {{"data", "", "disk"}, "one", "two"};
  expected.path = "-";
  expected.progress = false;
  for (const Words& words : std::vector<Words>{
           {"export-diff", "--no-progress", "--from-snap", "one", "data/disk@two", "-"},
           {"export-diff", "data/disk@two", "-", "--from-snap=one", "--no-progress"},
           {"-p", "data", "export-diff", "--no-progress", "--from-snap", "one", "disk@two", "-"},
           {"--no-progress", "--pool=data", "export-diff", "--from-snap", "one", "--snap", "two", "disk", "-"},
           {"export-diff", "--no-progress", "--pool", "data", "--image", "disk", "--snap", "two", "--from_snap",
            "one", "-"},
           {"export-diff", "--no-progress", "--image", "data/disk@two", "--from-snap", "one", "--path", "-"},
           {"export-diff", "--no-progress", "--path", "-", "--from-snap", "one", "--", "data/disk@two"},
           // What the image's spec says counts more than options.
           {"export-diff", "--no-progress", "--pool", "other", "--snap", "three", "--from-snap", "one",
            "data/disk@two", "-"},
       }) {
    CAPTURE(words);
    CHECK(accepted(words) == expected);
  }
}

TEST_CASE("export-diff of everything, up to the head, to a file, in a namespace") {
  const DiffInvocation invocation = accepted({"export-diff", "--namespace", "tenant", "disk", "/tmp/file"});
  CHECK(invocation.request == DiffRequest{{"", "tenant", "disk"}, "", ""});
  CHECK(invocation.path == "/tmp/file");
  CHECK(invocation.progress);
  CHECK_FALSE(invocation.whole_object);
  CHECK(accepted({"export-diff", "--whole-object", "disk", "-"}).whole_object);
  CHECK(accepted({"export-diff", "a/b/disk", "-"}).request.image == ImageSpec{"a", "b", "disk"});
  CHECK(accepted({"export-diff", "-p", "a", "--namespace", "b", "a/disk", "-"}).request.image ==
        ImageSpec{"a", "b", "disk"});
}

TEST_CASE("import-diff has its path first") {
  DiffInvocation expected;
  expected.command = DiffCommand::import_diff;
  expected.request.image = {"data", "", "disk"};
  expected.path = "file";
  for (const Words& words : std::vector<Words>{{"import-diff", "file", "data/disk"},
                                               {"import-diff", "--image", "data/disk", "file"},
                                               {"import-diff", "--path", "file", "data/disk"},
                                               {"import-diff", "--sparse-size", "4K", "file", "data/disk"},
                                               {"import-diff", "-p", "data", "file", "disk"}}) {
    CAPTURE(words);
    CHECK(accepted(words) == expected);
  }
}

TEST_CASE("how the cluster is reached") {
  const CephAccess access =
      accepted({"-c", "/c", "-n", "client.web", "-k", "/k", "-m", "10.0.0.1,10.0.0.2", "--cluster", "west",
                "--rbd-cache", "false", "export-diff", "--rbd_concurrent_management_ops=5", "disk", "-"})
          .access;
  CHECK(access.with_defaults);
  CHECK(access.conf == "/c");
  CHECK(access.user == "web");
  CHECK(access.keyring == "/k");
  CHECK(access.monitors == std::vector<std::string>{"10.0.0.1,10.0.0.2"});
  CHECK(access.cluster_name == "west");
  CHECK(access.settings ==
        decltype(access.settings){{"rbd_cache", "false"}, {"rbd_concurrent_management_ops", "5"}});
  CHECK(accepted({"--id", "web", "export-diff", "disk", "-"}).access.user == "web");
  CHECK(accepted({"export-diff", "disk", "-"}).access == ceph_defaults());
}

TEST_CASE("show-diff") {
  CHECK(accepted({"show-diff", "-"}).command == DiffCommand::show_diff);
  const DiffInvocation invocation = accepted({"show-diff", "--json", "--path", "file"});
  CHECK(invocation.json);
  CHECK(invocation.path == "file");
  CHECK(refused({"show-diff"}).exit_status == EINVAL);
  CHECK(refused({"show-diff", "--pool", "data", "-"}).exit_status == 1);
  CHECK(refused({"show-diff", "--anything=1", "-"}).exit_status == 1);
}

TEST_CASE("what makes no sense is refused as rbd refuses it") {
  CHECK(refused({"export-diff"}).text == "crossover: image name was not specified\n");
  CHECK(refused({"export-diff"}).exit_status == EINVAL);
  CHECK(refused({"export-diff", "disk"}).text == "crossover: path was not specified\n");
  CHECK(refused({"export-diff", "disk@", "-"}).text == "crossover: invalid spec 'disk@'\n");
  CHECK(refused({"import-diff", "-", "disk@one"}).exit_status == EINVAL);
  CHECK(refused({"export-diff", "disk", "-", "more"}).text == "crossover: too many arguments\n");
  CHECK(refused({"export-diff", "disk", "-", "more"}).exit_status == 1);
  CHECK(refused({"import-diff", "--from-snap", "one", "-", "disk"}).text ==
        "crossover: unrecognised option '--from-snap'\n");
  CHECK(refused({"export-diff", "-x", "1", "disk", "-"}).text == "crossover: unrecognised option '-x'\n");
  CHECK(refused({"export-diff", "disk", "-", "--snap"}).exit_status == 1);
  CHECK(refused({"export-diff", "--snap=", "disk", "-"}).exit_status == 1);
  CHECK(refused({"export-diff", "--no-progress=1", "disk", "-"}).exit_status == 1);
  CHECK(refused({"export-diff", "--snap", "a", "--snap", "a", "disk", "-"}).exit_status == 1);
  CHECK(refused({"export-diff", "-n", "mon.a", "disk", "-"}).exit_status == EINVAL);
  CHECK(refused({"import-diff", "--sparse-size", "64K", "-", "disk"}).exit_status == EINVAL);
}

TEST_CASE("help") {
  const auto parsed = parse_diff_command({"export-diff", "--help"});
  const auto& answer = std::get<Answer>(parsed);
  CHECK(answer.exit_status == 0);
  CHECK_FALSE(answer.to_stderr);
  CHECK(answer.text.starts_with("usage: crossover export-diff "));
}

TEST_CASE("other commands are not taken for these") {
  CHECK_FALSE(is_diff_command({}));
  CHECK_FALSE(is_diff_command({"mirror", "--vmid", "export-diff"}));
  CHECK_FALSE(is_diff_command({"--help"}));
  CHECK_FALSE(is_diff_command({"-p", "export-diff"}));
}
