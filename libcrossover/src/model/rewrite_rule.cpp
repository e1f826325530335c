#include "crossover/rewrite_rule.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <cstdint>

#include "crossover/error.hpp"
#include "text.hpp"

namespace crossover {

namespace {

// Enough for any sane expression on a line; a catastrophic one ends within about a tenth of a second.
constexpr std::uint32_t match_limit = 1000000;
constexpr std::uint32_t depth_limit = 100000;
constexpr std::uint32_t heap_limit_kib = 16384;
constexpr std::size_t longest_result = std::size_t{1} << 20;  // what a file in /etc/pve may hold

struct CodeDeleter {
  void operator()(pcre2_code* code) const noexcept { pcre2_code_free(code); }
};
struct ContextDeleter {
  void operator()(pcre2_match_context* context) const noexcept { pcre2_match_context_free(context); }
};
struct MatchDeleter {
  void operator()(pcre2_match_data* match) const noexcept { pcre2_match_data_free(match); }
};

[[noreturn]] void refuse(std::string_view expression, std::size_t position, std::string_view why) {
  throw Error(ErrorCode::usage, "read rewrite rule", fmt::format("'{}'", expression),
              fmt::format("position {}: {}; expected is s/regex/replacement/ with the flags g, i or a number",
                          position + 1, why));
}

std::string message_of(int code) {
  std::array<unsigned char, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

/// Part of a replacement: literal text, or a group if `group` is not negative.
struct Piece {
  std::string literal;
  int group = -1;
};

/// Takes an expression apart. Positions are offsets into the whole expression.
class Parser {
 public:
  explicit Parser(std::string_view expression) : expression_(expression) {}

  void parse() {
    if (expression_.size() < 2 || expression_.front() != 's') {
      refuse(expression_, 0, "it does not begin with s and a delimiter");
    }
    delimiter_ = expression_[1];
    if (delimiter_ == '\\' || delimiter_ == '\n' || delimiter_ == '\r' || delimiter_ == '\0') {
      refuse(expression_, 1, "this cannot be a delimiter");
    }
    at_ = 2;
    read_regex();
    read_replacement();
    read_flags();
  }

  std::string regex;
  std::size_t regex_begin = 2;
  std::vector<Piece> replacement;
  bool global = false;
  bool ignore_case = false;
  unsigned occurrence = 1;
  int highest_group = 0;
  std::size_t highest_group_at = 0;

 private:
  void read_regex() {
    while (at_ < expression_.size() && expression_[at_] != delimiter_) {
      if (expression_[at_] == '\\' && at_ + 1 < expression_.size()) {
        // An escaped delimiter is the character itself. Left with its backslash where PCRE2 could take it for an
        // operator, and without where the backslash would give a letter or digit a meaning.
        if (expression_[at_ + 1] != delimiter_ || !text::is_alnum(delimiter_)) {
          regex += expression_[at_];
        }
        ++at_;
      }
      regex += expression_[at_++];
    }
    end_part("regex");
    if (regex.empty()) {
      refuse(expression_, 2, "the regex is empty");
    }
  }

  void read_replacement() {
    std::string literal;
    const auto add_group = [&](int group) {
      if (!literal.empty()) {
        replacement.push_back({std::move(literal), -1});
        literal.clear();
      }
      replacement.push_back({{}, group});
      if (group > highest_group) {
        highest_group = group;
        highest_group_at = at_;
      }
    };
    while (at_ < expression_.size() && expression_[at_] != delimiter_) {
      const char c = expression_[at_];
      if (c == '&') {
        add_group(0);
      } else if (c == '\n' || c == '\r') {
        refuse(expression_, at_, "a line break cannot be part of a line");
      } else if (c != '\\') {
        literal += c;
      } else {
        if (at_ + 1 == expression_.size()) {
          refuse(expression_, at_, "a backslash at the end");
        }
        const char escaped = expression_[++at_];
        if (escaped == delimiter_) {
          literal += escaped;
        } else if (text::is_digit(escaped)) {
          add_group(escaped - '0');
        } else if (escaped == 't') {
          literal += '\t';
        } else if (escaped == 'n' || escaped == '\n' || escaped == '\r') {
          refuse(expression_, at_, "a line stays one line: \\n is not allowed in the replacement");
        } else if (text::is_alpha(escaped)) {
          refuse(expression_, at_, fmt::format("\\{} is not supported in the replacement", escaped));
        } else {
          literal += escaped;
        }
      }
      ++at_;
    }
    if (!literal.empty()) {
      replacement.push_back({std::move(literal), -1});
    }
    end_part("replacement");
  }

  void read_flags() {
    bool has_number = false;
    while (at_ < expression_.size()) {
      const char c = expression_[at_];
      if (c == 'g') {
        global = true;
      } else if (c == 'i' || c == 'I') {
        ignore_case = true;
      } else if (text::is_digit(c)) {
        const std::size_t begin = at_;
        while (at_ + 1 < expression_.size() && text::is_digit(expression_[at_ + 1])) {
          ++at_;
        }
        const auto number = text::to_uint64(expression_.substr(begin, at_ + 1 - begin));
        if (has_number || !number || *number == 0 || *number > 1000000) {
          refuse(expression_, begin, has_number ? "a second number" : "the number is not from 1 to 1000000");
        }
        has_number = true;
        occurrence = static_cast<unsigned>(*number);
      } else if (c == 'm' || c == 'M') {
        refuse(expression_, at_, "flag m has no meaning: the rule sees one line at a time");
      } else if (c == 'p' || c == 'e' || c == 'w') {
        refuse(expression_, at_, fmt::format("flag {} is not allowed: a rule only changes text", c));
      } else {
        refuse(expression_, at_, fmt::format("unknown flag '{}'", c));
      }
      ++at_;
    }
  }

  void end_part(std::string_view part) {
    if (at_ == expression_.size()) {
      refuse(expression_, at_, fmt::format("the {} does not end with '{}'", part, delimiter_));
    }
    ++at_;
  }

  std::string_view expression_;
  std::size_t at_ = 0;
  char delimiter_ = '/';
};

}  // namespace

struct RewriteRule::Compiled {
  std::unique_ptr<pcre2_code, CodeDeleter> code;
  std::unique_ptr<pcre2_match_context, ContextDeleter> context;
  std::vector<Piece> replacement;
  bool global = false;
  unsigned occurrence = 1;
};

RewriteRule RewriteRule::parse(std::string_view expression) {
  Parser parser(expression);
  parser.parse();

  auto compiled = std::make_shared<Compiled>();
  int error = 0;
  PCRE2_SIZE offset = 0;
  // \C and code callouts have no place here; bytes, not characters: a configuration need not be valid UTF-8.
  const std::uint32_t options =
      PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UTF | (parser.ignore_case ? PCRE2_CASELESS : 0U);
  compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(parser.regex.data()), parser.regex.size(),
                                     options, &error, &offset, nullptr));
  if (!compiled->code) {
    refuse(expression, parser.regex_begin + offset, message_of(error));
  }
  std::uint32_t groups = 0;
  pcre2_pattern_info(compiled->code.get(), PCRE2_INFO_CAPTURECOUNT, &groups);
  if (parser.highest_group > static_cast<int>(groups)) {
    refuse(expression, parser.highest_group_at,
           fmt::format("\\{} refers to a group, but the regex has {}", parser.highest_group, groups));
  }
  compiled->context.reset(pcre2_match_context_create(nullptr));
  if (!compiled->context) {
    throw std::bad_alloc();
  }
  pcre2_set_match_limit(compiled->context.get(), match_limit);
  pcre2_set_depth_limit(compiled->context.get(), depth_limit);
  pcre2_set_heap_limit(compiled->context.get(), heap_limit_kib);
  compiled->replacement = std::move(parser.replacement);
  compiled->global = parser.global;
  compiled->occurrence = parser.occurrence;

  RewriteRule rule{std::string(expression)};
  rule.compiled_ = std::move(compiled);
  return rule;
}

std::string RewriteRule::apply(std::string_view line) const {
  const std::unique_ptr<pcre2_match_data, MatchDeleter> match(
      pcre2_match_data_create_from_pattern(compiled_->code.get(), nullptr));
  if (!match) {
    throw std::bad_alloc();
  }
  std::string result;
  std::size_t copied = 0;           // the line's text up to here is in the result
  std::size_t start = 0;            // where the next match may begin
  std::size_t last_end = SIZE_MAX;  // end of the match before
  unsigned count = 0;
  while (start <= line.size()) {
    const int matched = pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(line.data()), line.size(),
                                    start, PCRE2_NO_UTF_CHECK, match.get(), compiled_->context.get());
    if (matched == PCRE2_ERROR_NOMATCH) {
      break;
    }
    if (matched < 0) {
      throw Error(ErrorCode::usage, "apply rewrite rule", fmt::format("'{}'", text_), message_of(matched));
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(match.get());
    const std::size_t begin = bounds[0];
    const std::size_t end = bounds[1];
    if (begin > end || begin < start) {  // \K in a look-around
      throw Error(ErrorCode::usage, "apply rewrite rule", fmt::format("'{}'", text_),
                  "a match ends before it begins");
    }
    // As in sed, an empty match right behind the match before does not count.
    if (begin == end && begin == last_end) {
      start = end + 1;
      last_end = SIZE_MAX;
      continue;
    }
    last_end = end;
    start = begin == end ? end + 1 : end;
    if (++count < compiled_->occurrence) {
      continue;
    }
    result += line.substr(copied, begin - copied);
    for (const Piece& piece : compiled_->replacement) {
      if (piece.group < 0) {
        result += piece.literal;
      } else if (piece.group < matched) {
        const std::size_t from = bounds[2 * piece.group];
        const std::size_t to = bounds[2 * piece.group + 1];
        if (from != PCRE2_UNSET) {
          result += line.substr(from, to - from);
        }
      }
    }
    copied = end;
    if (result.size() > longest_result) {
      throw Error(ErrorCode::usage, "apply rewrite rule", fmt::format("'{}'", text_), "the line becomes too long");
    }
    if (!compiled_->global) {
      break;
    }
  }
  result += line.substr(copied);
  return result;
}

VmConfig apply_rewrite_rules(const VmConfig& config, const std::vector<RewriteRule>& rules) {
  VmConfig result = config;
  if (rules.empty()) {
    return result;
  }
  std::vector<std::string> lines = config.main_lines();
  for (const RewriteRule& rule : rules) {
    for (std::string& line : lines) {
      line = rule.apply(line);
    }
  }
  result.replace_main_lines(lines);
  return result;
}

}  // namespace crossover
