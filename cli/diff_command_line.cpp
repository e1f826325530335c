#include "diff_command_line.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <system_error>
#include <utility>

#include "crossover/error.hpp"
#include "crossover/printable.hpp"
#include "image_spec.hpp"

namespace crossover::cli {

namespace {

constexpr unsigned for_export = 1U << static_cast<unsigned>(DiffCommand::export_diff);
constexpr unsigned for_import = 1U << static_cast<unsigned>(DiffCommand::import_diff);
constexpr unsigned for_show = 1U << static_cast<unsigned>(DiffCommand::show_diff);
constexpr unsigned for_images = for_export | for_import;
// `rbd` exits with 1 where it does not understand its options, with EINVAL where their values make no sense.
constexpr int exit_syntax = 1;

enum class Key {
  pool,
  rados_namespace,
  image,
  snap,
  from_snap,
  path,
  whole_object,
  sparse_size,
  no_progress,
  json,
  help
};

struct OptionSyntax {
  Key key;
  std::string_view word;
  char letter;  ///< 0: none
  bool has_value;
  unsigned commands;
};

constexpr std::array option_table{
    OptionSyntax{Key::pool, "pool", 'p', true, for_images},
    OptionSyntax{Key::rados_namespace, "namespace", 0, true, for_images},
    OptionSyntax{Key::image, "image", 0, true, for_images},
    OptionSyntax{Key::snap, "snap", 0, true, for_export},
    OptionSyntax{Key::from_snap, "from-snap", 0, true, for_export},
    OptionSyntax{Key::path, "path", 0, true, for_images | for_show},
    OptionSyntax{Key::whole_object, "whole-object", 0, false, for_export},
    OptionSyntax{Key::sparse_size, "sparse-size", 0, true, for_import},
    OptionSyntax{Key::no_progress, "no-progress", 0, false, for_images},
    OptionSyntax{Key::json, "json", 0, false, for_show},
    OptionSyntax{Key::help, "help", 'h', false, for_images | for_show},
};

constexpr std::array all_commands{DiffCommand::export_diff, DiffCommand::import_diff, DiffCommand::show_diff};

std::optional<DiffCommand> command_of(std::string_view word) {
  for (const DiffCommand command : all_commands) {
    if (to_string(command) == word) return command;
  }
  return std::nullopt;
}

/// One word that begins with '-', cut into its parts.
struct OptionWord {
  const OptionSyntax* syntax = nullptr;  ///< null: none of ours
  std::string word;                      ///< as it was given
  std::optional<std::string> value;      ///< what follows '=', or a letter
};

bool is_option(std::string_view word) {
  return word.size() > 1 && word.starts_with('-');
}

OptionWord cut(const std::string& word) {
  OptionWord option{nullptr, word, std::nullopt};
  const bool is_long = word.starts_with("--");
  const std::size_t equals = is_long ? word.find('=') : std::string::npos;
  const std::string_view name = std::string_view(word).substr(is_long ? 2 : 1, is_long ? equals - 2 : 1);
  for (const OptionSyntax& syntax : option_table) {
    if (is_long ? syntax.word == name : syntax.letter == name.front()) option.syntax = &syntax;
  }
  if (equals != std::string::npos) option.value = word.substr(equals + 1);
  if (!is_long && word.size() > 2) option.value = word.substr(2);
  return option;
}

bool takes_next_word(const OptionWord& option) {
  return !option.value && (option.syntax == nullptr || option.syntax->has_value);
}

/// The words that are neither options nor their values.
std::vector<std::string> positionals_of(const std::vector<std::string>& words) {
  std::vector<std::string> out;
  for (std::size_t index = 0; index < words.size(); ++index) {
    if (words[index] == "--") {
      out.insert(out.end(), words.begin() + static_cast<std::ptrdiff_t>(index) + 1, words.end());
      break;
    }
    if (!is_option(words[index])) {
      out.push_back(words[index]);
    } else if (takes_next_word(cut(words[index]))) {
      ++index;
    }
  }
  return out;
}

/// Whether `text` is a size as `rbd` reads that of --sparse-size: a number that 64 bits hold, and one of B, K, M,
/// G, T, P and E, perhaps with an i (not after B) or a B behind it.
bool is_sparse_size(std::string_view text) {
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || text.starts_with('-') || (is_negative && number != 0)) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.empty()) return true;
  constexpr std::string_view units = "BKMGTPE";
  const std::size_t unit = units.find(text.front());
  if (unit == std::string_view::npos || text.size() > 2) return false;
  if (text.size() == 2 && text[1] != 'B' && (text[1] != 'i' || unit == 0)) return false;
  return static_cast<std::uint64_t>(number) <= std::numeric_limits<std::uint64_t>::max() >> (10 * unit);
}

/// A refusal, thrown inside this file only.
struct Refusal {
  std::string text;
  int exit_status;
};

/// Ceph's commands answer these instead of doing their work; librados only takes them off the line.
void refuse_question(const std::string& word) {
  std::string name = word.substr(0, word.find('='));
  std::replace(name.begin(), name.end(), '_', '-');
  if (name != "--show-config" && name != "--show-config-value") return;
  throw Refusal{fmt::format("unrecognised option '{}'", word), exit_syntax};
}

Answer usage(DiffCommand command) {
  return {fmt::format("usage: crossover {}\n\n{}\n", diff_syntax(command), diff_purpose(command))};
}

class Parser {
 public:
  Parser(DiffCommand command, CephWords words) : words_(std::move(words.rest)) {
    out_.command = command;
    out_.access = std::move(words.access);
    out_.ceph_options = std::move(words.options);
  }

  std::variant<DiffInvocation, Answer> parse() {
    bool options_end = false;
    for (std::size_t index = 0; index < words_.size(); ++index) {
      const std::string& word = words_[index];
      if (!options_end && word == "--") {
        options_end = true;
      } else if (!options_end && is_option(word)) {
        options_.push_back(cut(word));
        OptionWord& option = options_.back();
        if (option.syntax != nullptr && takes_next_word(option)) {
          if (index + 1 == words_.size()) {
            throw Refusal{fmt::format("the required argument for option '{}' is missing", word), exit_syntax};
          }
          option.value = words_[++index];
        } else if (option.value && option.value->empty()) {
          throw Refusal{fmt::format("the argument for option '{}' should follow the equal sign", word),
                        exit_syntax};
        }
      } else {
        positionals_.push_back(word);
      }
    }
    positionals_.erase(positionals_.begin());  // the command
    for (const OptionWord& option : options_) {
      if (option.syntax != nullptr && option.syntax->key == Key::help) return usage(out_.command);
      take(option);
    }
    take_positionals();
    return out_;
  }

 private:
  void take(const OptionWord& option) {
    const unsigned mine = 1U << static_cast<unsigned>(out_.command);
    if (option.syntax == nullptr || (option.syntax->commands & mine) == 0) {
      throw Refusal{fmt::format("unrecognised option '{}'", option.word), exit_syntax};
    }
    const std::string_view name = option.syntax->word;
    if (!option.syntax->has_value && option.value) {
      throw Refusal{fmt::format("option '--{}' does not take any arguments", name), exit_syntax};
    }
    if (!seen_.insert(option.syntax->key).second) {
      throw Refusal{fmt::format("option '--{}' cannot be specified more than once", name), exit_syntax};
    }
    take(option.syntax->key, option.value.value_or(""));
  }

  void take(Key key, const std::string& value) {
    switch (key) {
      case Key::pool:
        pool_ = value;
        return;
      case Key::rados_namespace:
        namespace_ = value;
        return;
      case Key::image:
        image_ = value;
        return;
      case Key::snap:
        out_.request.end_snapshot = value;
        return;
      case Key::from_snap:
        out_.request.from_snapshot = value;
        return;
      case Key::path:
        out_.path = value;
        return;
      case Key::whole_object:
        out_.whole_object = true;
        return;
      case Key::sparse_size:
        // How far `rbd` looks for zeroes; here it is always in blocks of 4K. What the image reads as is the same.
        if (is_sparse_size(value)) return;
        throw Refusal{"the argument for option '--sparse-size' is invalid", exit_syntax};
      case Key::no_progress:
        out_.progress = false;
        return;
      case Key::json:
        out_.json = true;
        return;
      case Key::help:
        return;
    }
  }

  void take_positionals() {
    auto next = positionals_.begin();
    const auto take_next = [&](std::string& member, bool is_given) {
      if (!is_given && next != positionals_.end()) member = *next++;
    };
    // `rbd` has them in the order of the transfer; an option that says the same takes a word's place.
    const bool path_given = seen_.contains(Key::path);
    const bool image_given = !image_.empty();
    if (path_given && out_.path.empty()) throw Refusal{"path was not specified", EINVAL};
    if (out_.command == DiffCommand::export_diff) take_next(image_, image_given);
    take_next(out_.path, path_given);
    if (out_.command == DiffCommand::import_diff) take_next(image_, image_given);
    if (next != positionals_.end()) throw Refusal{"too many arguments", exit_syntax};
    if (out_.command != DiffCommand::show_diff) take_image();
    if (out_.path.empty()) throw Refusal{"path was not specified", EINVAL};
  }

  void take_image() {
    if (image_.empty()) throw Refusal{"image name was not specified", EINVAL};
    const std::optional<SnapshotSpec> spec = parse_snapshot_spec(image_);
    if (!spec) throw Refusal{fmt::format("invalid spec '{}'", image_), EINVAL};
    if (!spec->snapshot.empty() && out_.command == DiffCommand::import_diff) {
      throw Refusal{"snapshot name specified for a command that doesn't use it", EINVAL};
    }
    out_.request.image = {spec->image.pool.empty() ? pool_ : spec->image.pool,
                          spec->image.rados_namespace.empty() ? namespace_ : spec->image.rados_namespace,
                          spec->image.name};
    if (out_.request.image.rados_namespace.find_first_of("@/") != std::string::npos) {
      throw Refusal{fmt::format("invalid namespace name '{}'", out_.request.image.rados_namespace), EINVAL};
    }
    if (!spec->snapshot.empty()) out_.request.end_snapshot = spec->snapshot;
  }

  std::vector<std::string> words_;
  std::vector<OptionWord> options_;
  std::vector<std::string> positionals_;
  std::set<Key> seen_;
  std::string pool_;
  std::string namespace_;
  std::string image_;
  DiffInvocation out_;
};

}  // namespace

std::string_view to_string(DiffCommand command) {
  switch (command) {
    case DiffCommand::export_diff:
      return "export-diff";
    case DiffCommand::import_diff:
      return "import-diff";
    case DiffCommand::show_diff:
      return "show-diff";
  }
  return "";
}

std::optional<std::variant<DiffInvocation, Answer>> parse_diff_command(const std::vector<std::string>& words,
                                                                       const TakeCephWords& take) {
  const auto has = [&](DiffCommand command) {
    return std::find(words.begin(), words.end(), to_string(command)) != words.end();
  };
  // Only what may be of images is shown to Ceph.
  const bool may_be_of_images = has(DiffCommand::export_diff) || has(DiffCommand::import_diff);
  if (!may_be_of_images && !has(DiffCommand::show_diff)) return std::nullopt;
  try {
    CephWords known = may_be_of_images ? take(words) : CephWords{ceph_defaults(), {}, words};
    std::vector<std::string> positionals = positionals_of(known.rest);
    if (positionals.size() > 1 && positionals.front() == "help") {
      const std::optional<DiffCommand> about = command_of(positionals[1]);
      return about ? std::optional<std::variant<DiffInvocation, Answer>>(usage(*about)) : std::nullopt;
    }
    for (const std::string& word : known.options) refuse_question(word);
    const std::optional<DiffCommand> command =
        positionals.empty() ? std::nullopt : command_of(positionals.front());
    if (!command) return std::nullopt;
    return Parser(*command, std::move(known)).parse();
  } catch (const Refusal& refusal) {
    return Answer{fmt::format("crossover: {}\n", refusal.text), true, refusal.exit_status};
  } catch (const Error& error) {
    return Answer{fmt::format("crossover: {}\n", printable(error.what())), true,
                  error.error_number() == 0 ? EINVAL : error.error_number()};
  }
}

std::string diff_syntax(DiffCommand command) {
  switch (command) {
    case DiffCommand::export_diff:
      return "export-diff [--from-snap SNAP] [--whole-object] [--no-progress] [CEPH OPTIONS] "
             "[POOL/[NAMESPACE/]]IMAGE[@SNAP] PATH|-";
    case DiffCommand::import_diff:
      return "import-diff [--sparse-size SIZE] [--no-progress] [CEPH OPTIONS] PATH|- [POOL/[NAMESPACE/]]IMAGE";
    case DiffCommand::show_diff:
      return "show-diff [--json] PATH|-";
  }
  return {};
}

std::string diff_purpose(DiffCommand command) {
  static const std::string options =
      " Options are those of rbd: --pool (-p), --namespace, --image, --snap, --path; --conf (-c), --name (-n), "
      "--id, --keyring (-k), --keyfile (-K), -m, --cluster, and every option of Ceph's configuration. The exit "
      "status is that of rbd: 0, 1 for options that it does not know, or the errno.";
  switch (command) {
    case DiffCommand::export_diff:
      return "Writes what changed between two snapshots, or all of the second, as the stream `rbd import-diff` "
             "takes. "
             "Without @SNAP it ends at the head. The file must not exist." +
             options;
    case DiffCommand::import_diff:
      return "Applies such a stream to an image, and makes its end snapshot last." + options;
    case DiffCommand::show_diff:
      return "Prints what is in such a stream, and what is wrong with it.";
  }
  return {};
}

}  // namespace crossover::cli
