#include "crossover/rewrite_rule.hpp"

#include <doctest/doctest.h>

#include <chrono>

#include "crossover/error.hpp"

namespace {

using namespace crossover;

std::string refusal(const char* expression) {
  try {
    static_cast<void>(RewriteRule::parse(expression));
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::usage);
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("substitutions do what sed does") {
  struct Row {
    const char* rule;
    const char* line;
    const char* result;
  };
  // The results are those of GNU sed -r, but for an escaped delimiter that is an operator: ours is the plain
  // character.
  const Row rows[] = {
      {R"(s/(net0:)(.*)tag=([0-9]+)/\1\2tag=1/g)", "net0: virtio=BC:24:11:AA:00:01,bridge=vmbr0,tag=20",
       "net0: virtio=BC:24:11:AA:00:01,bridge=vmbr0,tag=1"},
      {"s/a/b/", "aaa", "baa"},
      {"s/a/b/g", "aaa", "bbb"},
      {"s/a/b/2", "aaa", "aba"},
      {"s/a/b/2g", "aaaa", "abbb"},
      {"s/a/b/5", "aaa", "aaa"},
      {"s/A/b/i", "aaa", "baa"},
      {"s/A/b/Ig", "aaa", "bbb"},
      {"s/b+/[&]/", "abbc", "a[bb]c"},
      {R"(s/b+/\&\0/)", "abbc", "a&bbc"},
      {R"(s/(a)|(b)/<\1\2>/g)", "abc", "<a><b>c"},
      {R"(s/a/\\/)", "a", "\\"},
      {R"(s/a/x\ty/)", "a", "x\ty"},
      {"s|/dev/a|/dev/b|", "x /dev/a", "x /dev/b"},
      {R"(s|a\|b|x|)", "a|b", "x"},
      {R"(s/a\/b/c\/d/)", "a/b", "c/d"},
      {R"(s,a\,b,c\,d,)", "a,b", "c,d"},
      {R"(sxa\xbxcx)", "axb", "c"},
      {R"(s#^\##x#)", "#y", "xy"},
      {"s/x*/-/g", "abc", "-a-b-c-"},
      {"s/a*/x/g", "baaac", "xbxcx"},
      {"s/^/# /", "a", "# a"},
      {"s/$/,b/g", "a", "a,b"},
      {"s/a//", "abc", "bc"},
      {"s/.*//", "abc", ""},
      {"s/z/y/", "abc", "abc"},
      {"s/a/b/", "", ""},
      {R"(s/\bvmbr0\b/vmbr9/)", "bridge=vmbr0,tag=1", "bridge=vmbr9,tag=1"},
      {R"(s/(?<=tag=)\d+/7/)", "tag=20", "tag=7"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.rule);
    CHECK(RewriteRule::parse(row.rule).apply(row.line) == row.result);
  }
}

TEST_CASE("what is no substitution is refused with its place and the form that is expected") {
  struct Row {
    const char* rule;
    const char* says;
  };
  const Row rows[] = {
      {"", "position 1: it does not begin with s"},
      {"s", "position 1: it does not begin with s"},
      {"y/a/b/", "position 1: it does not begin with s"},
      {"net0", "position 1: it does not begin with s"},
      {"s\\a\\b\\", "position 2: this cannot be a delimiter"},
      {"s/a", "position 4: the regex does not end with '/'"},
      {"s/a/b", "position 6: the replacement does not end with '/'"},
      {"s//b/", "position 3: the regex is empty"},
      {"s/(a/b/", "missing closing parenthesis"},
      {"s/a/\\1/", "position 6: \\1 refers to a group, but the regex has 0"},
      {"s/(a)/\\2/", "position 8: \\2 refers to a group, but the regex has 1"},
      {"s/a/b\\n/", "position 7: a line stays one line"},
      {"s/a/\\Ub/", "position 6: \\U is not supported"},
      {"s/a/b/m", "position 7: flag m has no meaning"},
      {"s/a/b/gp", "position 8: flag p is not allowed"},
      {"s/a/b/e", "position 7: flag e is not allowed"},
      {"s/a/b/x", "position 7: unknown flag 'x'"},
      {"s/a/b/0", "position 7: the number is not from 1"},
      {"s/a/b/1g2", "position 9: a second number"},
      {"s/a/b/; s/c/d/", "position 7: unknown flag ';'"},
      {"s/a/b\\", "position 6: a backslash at the end"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.rule);
    const std::string text = refusal(row.rule);
    CHECK_MESSAGE(text.find(row.says) != std::string::npos, text);
    CHECK(text.find("expected is s/regex/replacement/") != std::string::npos);
    CHECK(text.find("'" + std::string(row.rule) + "'") != std::string::npos);
  }
}

TEST_CASE("a catastrophic expression ends with an error") {
  const RewriteRule rule = RewriteRule::parse("s/^(([a-z]+)*)*[0-9]$/x/");
  const auto begin = std::chrono::steady_clock::now();
  CHECK_THROWS_AS(static_cast<void>(rule.apply(std::string(200, 'a') + "!")), Error);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
}

TEST_CASE("rules go through the main section line by line, in order") {
  const VmConfig config =
      parse_vm_config("#net0 here\r\nnet0: virtio,bridge=vmbr0\n\nname: a\n\n[s1]\nnet0: e1000\n");
  const auto rules = {RewriteRule::parse("s/net0/net1/"), RewriteRule::parse("s/vmbr0$/vmbr9/"),
                      RewriteRule::parse("s/net1: virtio/net1: rtl8139/")};
  const VmConfig result = apply_rewrite_rules(config, rules);
  CHECK(result.to_bytes() == "#net1 here\r\nnet1: rtl8139,bridge=vmbr9\n\nname: a\n\n[s1]\nnet0: e1000\n");
  CHECK(apply_rewrite_rules(config, {}) == config);

  // $ is the end of the text also in a file with Windows line endings.
  CHECK(apply_rewrite_rules(parse_vm_config("name: a\r\n"), {RewriteRule::parse("s/a$/b/")}).to_bytes() ==
        "name: b\r\n");
}

TEST_CASE("a rule that would cut the configuration is refused, one that spoils a line shows") {
  const VmConfig config = parse_vm_config("name: a\ncores: 2\n");
  CHECK_THROWS_AS(static_cast<void>(apply_rewrite_rules(config, {RewriteRule::parse("s/name: a/[abc]/")})), Error);
  const VmConfig result = apply_rewrite_rules(config, {RewriteRule::parse("s/cores: 2/cores: two/")});
  CHECK(result.warnings().size() == 1);
}

TEST_CASE("rules are values") {
  const RewriteRule rule = RewriteRule::parse("s/a/b/");
  const RewriteRule copy = rule;
  CHECK(copy == rule);
  CHECK(copy.apply("a") == "b");
  CHECK_FALSE(rule == RewriteRule::parse("s/a/c/"));
  CHECK(rule.text() == "s/a/b/");
}
