#include "diff_command_line.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <vector>

#include "crossover/error.hpp"

using namespace crossover;
using namespace crossover::cli;

namespace {

using Words = std::vector<std::string>;

/// What librados would take: a flag, an option with a value, one for a key; and how the cluster is reached.
CephWords take_some(const Words& words) {
  CephWords out;
  for (std::size_t index = 0; index < words.size(); ++index) {
    const std::string& word = words[index];
    if (word == "--no-mon-config" || word == "--log-to-stderr" || word.starts_with("--debug_rbd=")) {
      out.options.push_back(word);
    } else if (word == "-K" || word == "--rbd_cache") {
      out.options.insert(out.options.end(), {word, words.at(++index)});
    } else if (word == "--id") {
      out.access.user = words.at(++index);
    } else if (word == "-n") {
      throw Error(ErrorCode::usage, "read options of Ceph", "''", "it is no name", false, 1);
    } else {
      out.rest.push_back(word);
    }
  }
  return out;
}

DiffInvocation accepted(const Words& words) {
  const auto parsed = parse_diff_command(words, take_some);
  REQUIRE(parsed);
  if (const auto* answer = std::get_if<Answer>(&*parsed)) FAIL(answer->text);
  return std::get<DiffInvocation>(*parsed);
}

Answer refused(const Words& words) {
  const auto parsed = parse_diff_command(words, take_some);
  REQUIRE(parsed);
  REQUIRE(std::holds_alternative<Answer>(*parsed));
  CHECK(std::get<Answer>(*parsed).to_stderr);
  return std::get<Answer>(*parsed);
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
           {"export-diff", "--no-progress", "-pdata", "--image", "disk", "--snap", "two", "--from-snap", "one",
            "-"},
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
  for (const char* pool : {"a", "other"}) {
    CHECK(accepted({"export-diff", "-p", pool, "--namespace", "b", "a/disk", "-"}).request.image ==
          ImageSpec{"a", "b", "disk"});
  }
}

TEST_CASE("an option without anything in it, as of an empty variable, is one that was not given") {
  const DiffInvocation invocation = accepted({"export-diff", "--snap", "", "--from-snap", "", "--namespace", "",
                                              "--pool", "", "--image", "", "disk", "-"});
  CHECK(invocation.request == DiffRequest{{"", "", "disk"}, "", ""});
  // But for a path: one that is empty is no path.
  CHECK(refused({"export-diff", "--path", "", "disk", "-"}).exit_status == EINVAL);
  CHECK(refused({"export-diff", "disk", ""}).exit_status == EINVAL);
  CHECK(refused({"export-diff", "", "-"}).exit_status == EINVAL);
}

TEST_CASE("how far zeroes are looked for is a hint, with rbd's grammar") {
  for (const char* size : {"4K", "8K", "8192", "4096B", "3000", "0", "-0", "+8K", "08K", "8KB", "8Ki", "1M", "1T",
                           "15E", "16383P"}) {
    CAPTURE(size);
    CHECK(accepted({"import-diff", "--sparse-size", size, "-", "disk"}).path == "-");
  }
  for (const char* size : {"", "K", "B", "4k", "8KiB", "8Bi", "0x1000", "1.5K", " 8K", "8 ", "-1", "++8", "+-8",
                           "8-1", "16E", "100E", "9223372036854775808", "junk"}) {
    CAPTURE(size);
    CHECK(refused({"import-diff", "--sparse-size", size, "-", "disk"}).exit_status == 1);
  }
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
  const DiffInvocation invocation = accepted({"--no-mon-config", "-K", "/k", "export-diff", "--rbd_cache", "false",
                                              "--id", "web", "--log-to-stderr", "disk", "-"});
  CHECK(invocation.access.with_defaults);
  CHECK(invocation.access.user == "web");
  CHECK(invocation.ceph_options == Words{"--no-mon-config", "-K", "/k", "--rbd_cache", "false", "--log-to-stderr"});
  CHECK(accepted({"export-diff", "disk", "-"}).access == ceph_defaults());
  CHECK(refused({"export-diff", "-n", "", "disk", "-"}).exit_status == 1);
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
  for (const char* unknown :
       {"--unknown", "--unknown=1", "--from_snap", "--FROM-SNAP", "--no_progress", "-d", "-i", "--image-id"}) {
    CAPTURE(unknown);
    CHECK(refused({"export-diff", "disk", "-", unknown}).exit_status == 1);
  }
  CHECK(refused({"export-diff", "--namespace", "a/b", "disk", "-"}).exit_status == EINVAL);
  CHECK(refused({"export-diff", "disk", "-", "--snap"}).exit_status == 1);
  CHECK(refused({"export-diff", "--snap=", "disk", "-"}).exit_status == 1);
  CHECK(refused({"export-diff", "--no-progress=1", "disk", "-"}).exit_status == 1);
  CHECK(refused({"export-diff", "--snap", "a", "--snap", "a", "disk", "-"}).exit_status == 1);
}

TEST_CASE("help") {
  for (const Words& words : std::vector<Words>{{"export-diff", "--help"},
                                               {"export-diff", "-h", "disk"},
                                               {"help", "export-diff"},
                                               {"help", "export-diff", "more"}}) {
    CAPTURE(words);
    const auto parsed = parse_diff_command(words, take_some);
    REQUIRE(parsed);
    const auto& answer = std::get<Answer>(*parsed);
    CHECK(answer.exit_status == 0);
    CHECK_FALSE(answer.to_stderr);
    CHECK(answer.text.starts_with("usage: crossover export-diff "));
  }
}

TEST_CASE("other commands are not taken for these, and nothing of them is shown to Ceph") {
  const TakeCephWords never = [](const Words&) -> CephWords { throw std::logic_error("shown"); };
  CHECK_FALSE(parse_diff_command({}, never));
  CHECK_FALSE(parse_diff_command({"--help"}, never));
  CHECK_FALSE(parse_diff_command({"help", "mirror"}, never));
  CHECK_FALSE(parse_diff_command({"mirror", "--vmid", "100", "--job-name", "show-diff"}, never));
  CHECK_FALSE(parse_diff_command({"mirror", "--vmid", "export-diff"}, take_some));
  CHECK_FALSE(parse_diff_command({"-p", "export-diff"}, take_some));
}
