/// \file
/// `--rewrite`: sed substitutions on a replica's configuration, such as 's/(net0:.*)tag=[0-9]+/\1tag=1/'.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/vm_config.hpp"

namespace crossover {

/// One substitution `s/regex/replacement/flags`, as sed has it, with PCRE2's expressions (in which the extended
/// expressions of `sed -r` mean the same).
///
/// - Any character but a backslash or a line break may stand for '/'; with a backslash before it it is itself.
/// - Replacement: `&` and `\0` the whole match, `\1` to `\9` groups (empty if they took no part), `\&`, `\\`, `\t`;
///   a backslash before any other character that is no letter makes it itself. `\n` and case conversion (`\U`,
///   `\L`,
///   ...) are refused: a line stays one line.
/// - Flags: `g`, `i` or `I`, and a number (that match only; with `g` that one and all after it). `m`, `p`, `e` and
/// `w`
///   are refused: there is one line at a time, no output and no command.
///
/// A value; copies share the compiled expression. Rules are equal if their texts are.
class RewriteRule {
 public:
  /// Throws Error(usage) that names the expression, the position (from 1) and the form that is expected.
  static RewriteRule parse(std::string_view expression);

  /// The expression as it was given.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

  /// One line with the substitution made. Throws Error(usage) if the expression takes too long on it: catastrophic
  /// backtracking ends at a fixed number of steps.
  [[nodiscard]] std::string apply(std::string_view line) const;

  bool operator==(const RewriteRule& other) const noexcept { return text_ == other.text_; }

 private:
  struct Compiled;

  explicit RewriteRule(std::string text) : text_(std::move(text)) {}

  std::string text_;
  std::shared_ptr<const Compiled> compiled_;
};

/// Applies rules in order to each line of the main section, comments and blank lines included, without their line
/// endings; other sections stay as they are. The number of lines stays. A line that comes out as something PVE
/// would drop shows in the result's warnings(). Throws Error(usage) if a line would become a section header: all
/// lines below it would be lost.
VmConfig apply_rewrite_rules(const VmConfig& config, const std::vector<RewriteRule>& rules);

}  // namespace crossover
