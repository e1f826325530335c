#include "crossover/vmid.hpp"

#include <doctest/doctest.h>

#include "crossover/error.hpp"

namespace {

using namespace crossover;

template <typename Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::usage);
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("lists of VMs") {
  CHECK(parse_vmid_list("100") == VmidSelection{false, {{100, {}}}});
  CHECK(parse_vmid_list("100:100, 101:201,999999999") ==
        VmidSelection{false, {{100, 100}, {101, 201}, {999999999, {}}}});
  CHECK(parse_vmid_list("all") == VmidSelection{true, {}});
  CHECK(parse_vmid_list("all,100:200") == VmidSelection{true, {{100, 200}}});
}

TEST_CASE("lists that make no sense say why") {
  const std::pair<const char*, const char*> rows[] = {
      {"", "an item is empty"},
      {"100,", "an item is empty"},
      {",100", "an item is empty"},
      {"99", "from 100 to 999999999"},
      {"1000000000", "from 100 to 999999999"},
      {"99999999999999999999999", "from 100 to 999999999"},
      {"0100", "no leading zeros"},
      {"100:0200", "no leading zeros"},
      {"-100", "is a number"},
      {"100-110", "is a number"},
      {"abc", "is a number"},
      {"ALL", "is a number"},
      {"100:", "is a number"},
      {":100", "is a number"},
      {"100:200:300", "is a number"},
      {"100:all", "is a number"},
      {"100,100", "guest 100 comes twice"},
      {"100:200,100:300", "guest 100 comes twice"},
      {"100:200,101:200", "guests 100 and 101 would both become 200"},
      {"all,all", "'all' comes twice"},
  };
  for (const auto& [list, why] : rows) {
    CAPTURE(list);
    const std::string text = refusal([list = list] { static_cast<void>(parse_vmid_list(list)); });
    CHECK_MESSAGE(text.find(why) != std::string::npos, text);
  }
}

TEST_CASE("exclusions are exact") {
  CHECK(parse_vmid_exclusions("").empty());
  CHECK(parse_vmid_exclusions("1100, 101") == std::set<Vmid>{101, 1100});
  CHECK_FALSE(parse_vmid_exclusions("1100").contains(100));
  CHECK_FALSE(refusal([] { static_cast<void>(parse_vmid_exclusions("100,")); }).empty());
}

TEST_CASE("a prefix is text in front") {
  CHECK(prefixed_vmid("", 100) == 100);
  CHECK(prefixed_vmid("99", 100) == 99100);
  CHECK(prefixed_vmid("999999", 100) == 999999100);
  for (const char* bad : {"010", "0", "a", "-1", " 9", "9999999", "99999999999999999999"}) {
    CAPTURE(bad);
    CHECK_FALSE(refusal([bad] { static_cast<void>(prefixed_vmid(bad, 100)); }).empty());
  }
}

TEST_CASE("every guest gets a target of its own") {
  using Pairs = std::vector<VmidPair>;
  CHECK(assign_targets(parse_vmid_list("102,100:200"), {}, {}, "") == Pairs{{100, 200}, {102, 102}});
  CHECK(assign_targets(parse_vmid_list("all"), {100, 1100, 101}, {100}, "99") ==
        Pairs{{101, 99101}, {1100, 991100}});
  CHECK(assign_targets(parse_vmid_list("all,101:500"), {100, 101}, {}, "99") == Pairs{{100, 99100}, {101, 500}});
  CHECK(assign_targets(parse_vmid_list("100,101"), {}, {101}, "") == Pairs{{100, 100}});
  CHECK(refusal([] {
          static_cast<void>(assign_targets(parse_vmid_list("100:101,101"), {}, {}, ""));
        }).find("guests 100 and 101 would both become 101") != std::string::npos);
  CHECK(refusal([] {
          static_cast<void>(assign_targets(parse_vmid_list("all,1100:9100"), {100, 1100}, {}, "9"));
        }).find("would both become 9100") != std::string::npos);
}
