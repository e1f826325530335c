#include "diff_command_line.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <set>
#include <utility>

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
  conf,
  name,
  id,
  keyring,
  monitor,
  cluster,
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
    OptionSyntax{Key::conf, "conf", 'c', true, for_images},
    OptionSyntax{Key::name, "name", 'n', true, for_images},
    OptionSyntax{Key::id, "id", 0, true, for_images},
    OptionSyntax{Key::id, "user", 0, true, for_images},
    OptionSyntax{Key::keyring, "keyring", 'k', true, for_images},
    OptionSyntax{Key::monitor, "mon_host", 'm', true, for_images},
    OptionSyntax{Key::cluster, "cluster", 0, true, for_images},
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
  const OptionSyntax* syntax = nullptr;  ///< null: none of ours, so one of Ceph's configuration options
  std::string name;
  std::optional<std::string> value;  ///< what follows '='
};

bool is_option(std::string_view word) {
  return word.size() > 1 && word.starts_with('-');
}

OptionWord cut(const std::string& word) {
  OptionWord option;
  if (word.starts_with("--")) {
    const std::size_t equals = word.find('=');
    option.name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    if (equals != std::string::npos) option.value = word.substr(equals + 1);
  } else {
    option.name = word.substr(1);
  }
  // As in Ceph, '-' and '_' are the same inside a name.
  std::string dashed = option.name;
  std::replace(dashed.begin(), dashed.end(), '_', '-');
  for (const OptionSyntax& syntax : option_table) {
    std::string own(syntax.word);
    std::replace(own.begin(), own.end(), '_', '-');
    const bool is_same =
        word.starts_with("--") ? own == dashed : option.name.size() == 1 && option.name[0] == syntax.letter;
    if (is_same) option.syntax = &syntax;
  }
  return option;
}

bool takes_next_word(const OptionWord& option) {
  return !option.value && (option.syntax == nullptr || option.syntax->has_value);
}

/// A refusal, thrown inside this file only.
struct Refusal {
  std::string text;
  int exit_status;
};

class Parser {
 public:
  explicit Parser(const std::vector<std::string>& words) : words_(words) {}

  std::variant<DiffInvocation, Answer> parse() {
    bool options_end = false;
    for (index_ = 0; index_ < words_.size(); ++index_) {
      const std::string& word = words_[index_];
      if (!options_end && word == "--") {
        options_end = true;
      } else if (!options_end && is_option(word)) {
        options_.push_back(cut(word));
        OptionWord& option = options_.back();
        if (takes_next_word(option)) {
          if (index_ + 1 == words_.size()) {
            throw Refusal{fmt::format("the required argument for option '{}' is missing", word), exit_syntax};
          }
          option.value = words_[++index_];
        }
      } else {
        positionals_.push_back(word);
      }
    }
    out_.command = command_of(positionals_.front()).value_or(DiffCommand::export_diff);
    positionals_.erase(positionals_.begin());
    for (const OptionWord& option : options_) {
      if (option.syntax != nullptr && option.syntax->key == Key::help) return usage();
      take(option);
    }
    take_positionals();
    return out_;
  }

 private:
  void take(const OptionWord& option) {
    const unsigned mine = 1U << static_cast<unsigned>(out_.command);
    if (option.syntax == nullptr) return take_setting(option);
    if ((option.syntax->commands & mine) == 0) refuse_option(option);
    if (!option.syntax->has_value && option.value) {
      throw Refusal{fmt::format("option '--{}' does not take any arguments", option.name), exit_syntax};
    }
    if (!seen_.insert(option.syntax->key).second) {
      throw Refusal{fmt::format("option '--{}' cannot be specified more than once", option.name), exit_syntax};
    }
    const std::string value = option.value.value_or("");
    if (option.syntax->has_value && value.empty()) {
      throw Refusal{fmt::format("the argument for option '--{}' is empty", option.name), exit_syntax};
    }
    take(option.syntax->key, value);
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
        if (value == "4K" || value == "4096" || value == "4096B") return;
        throw Refusal{"--sparse-size is not supported: zeroes are looked for in blocks of 4K", EINVAL};
      case Key::no_progress:
        out_.progress = false;
        return;
      case Key::json:
        out_.json = true;
        return;
      case Key::conf:
        out_.access.conf = value;
        return;
      case Key::name:
        if (!value.starts_with("client.") || value.size() == 7) {
          throw Refusal{fmt::format("'{}' is not the name of a client: client.ID is expected", value), EINVAL};
        }
        out_.access.user = value.substr(7);
        return;
      case Key::id:
        out_.access.user = value;
        return;
      case Key::keyring:
        out_.access.keyring = value;
        return;
      case Key::monitor:
        out_.access.monitors = {value};
        return;
      case Key::cluster:
        out_.access.cluster_name = value;
        return;
      case Key::help:
        return;
    }
  }

  /// Whether Ceph has such an option is found when connecting.
  void take_setting(const OptionWord& option) {
    if (out_.command == DiffCommand::show_diff || option.name.size() < 2) refuse_option(option);
    std::string name = option.name;
    std::replace(name.begin(), name.end(), '-', '_');
    out_.access.settings.emplace_back(std::move(name), option.value.value_or(""));
  }

  [[noreturn]] static void refuse_option(const OptionWord& option) {
    throw Refusal{fmt::format("unrecognised option '{}{}'", option.name.size() == 1 ? "-" : "--", option.name),
                  exit_syntax};
  }

  void take_positionals() {
    auto next = positionals_.begin();
    const auto take_next = [&](std::string& member, bool is_given) {
      if (!is_given && next != positionals_.end()) member = *next++;
    };
    // `rbd` has them in the order of the transfer; an option that says the same takes a word's place.
    const bool path_given = !out_.path.empty();
    const bool image_given = !image_.empty();
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
    ImageSpec& image = out_.request.image;
    image = spec->image;
    if (image.pool.empty()) {
      image.pool = pool_;
      image.rados_namespace = namespace_;
    } else if (image.rados_namespace.empty() && (pool_.empty() || pool_ == image.pool)) {
      image.rados_namespace = namespace_;
    }
    if (!spec->snapshot.empty()) out_.request.end_snapshot = spec->snapshot;
  }

  [[nodiscard]] Answer usage() const {
    return {fmt::format("usage: crossover {}\n\n{}\n", diff_syntax(out_.command), diff_purpose(out_.command))};
  }

  const std::vector<std::string>& words_;
  std::size_t index_ = 0;
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

bool is_diff_command(const std::vector<std::string>& words) {
  for (std::size_t index = 0; index < words.size(); ++index) {
    if (!is_option(words[index])) return command_of(words[index]).has_value();
    if (takes_next_word(cut(words[index]))) ++index;
  }
  return false;
}

std::variant<DiffInvocation, Answer> parse_diff_command(const std::vector<std::string>& words) {
  try {
    return Parser(words).parse();
  } catch (const Refusal& refusal) {
    return Answer{fmt::format("crossover: {}\n", refusal.text), true, refusal.exit_status};
  }
}

std::string diff_syntax(DiffCommand command) {
  switch (command) {
    case DiffCommand::export_diff:
      return "export-diff [--from-snap SNAP] [--no-progress] [CEPH OPTIONS] [POOL/[NAMESPACE/]]IMAGE[@SNAP] PATH|-";
    case DiffCommand::import_diff:
      return "import-diff [--no-progress] [CEPH OPTIONS] PATH|- [POOL/[NAMESPACE/]]IMAGE";
    case DiffCommand::show_diff:
      return "show-diff [--json] PATH|-";
  }
  return {};
}

std::string diff_purpose(DiffCommand command) {
  static const std::string options =
      " Options are those of rbd: --pool (-p), --namespace, --image, --snap, --path; --conf (-c), --name (-n), "
      "--id, "
      "--keyring (-k), -m, --cluster, and every configuration option of Ceph as --option VALUE. The exit status is "
      "that of rbd: 0, or the errno.";
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
