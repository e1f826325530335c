#include "rbd/rbd_command_store.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>
#include <utility>

#include "crossover/error.hpp"
#include "engine/block_hashes.hpp"
#include "engine/range_filter.hpp"
#include "model/image_access.hpp"
#include "rbd/image_layout.hpp"
#include "rbd/rbd_command_io.hpp"
#include "rbd/rbd_command_line.hpp"
#include "rbd/rbd_error.hpp"
#include "rbd/rbd_json.hpp"
#include "rbd/rbd_survey.hpp"

namespace crossover {

using rbd::error_of_command;

namespace {

using std::chrono::hours;
using std::chrono::minutes;

constexpr minutes question{2};
constexpr minutes small_change{10};
constexpr hours whole_image{24};  // a removal or a rollback touches every object

constexpr std::size_t images_per_command = 100;
constexpr std::size_t commands_at_once = 4;

/// A word no output holds by chance.
std::string make_token() {
  std::random_device random;
  return fmt::format("crossover-{:08x}{:08x}{:08x}", random(), random(), random());
}

void check_stop(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Cancelled{};
}

}  // namespace

class RbdCommandStore::Hold final : public ImageHold {
 public:
  Hold(RbdCommandStore& store, ImageSpec image) : store_(store), image_(std::move(image)) {
    require_writable("hold image", image_, store_.layout(image_, "hold image").features);
    store_.require_unwatched(image_, "hold image");
  }

  ImageState state() override {
    std::optional<ImageState> state = store_.find(image_);
    if (!state) throw Error(ErrorCode::not_found, "look at image", to_string(image_), "it is gone");
    return *std::move(state);
  }
  void set_metadata(const std::string& key, const std::string& value) override {
    store_.set_metadata(image_, key, value);
  }
  void remove_metadata(const std::string& key) override { store_.remove_metadata(image_, key); }
  void roll_back(const Snapshot& snapshot, std::stop_token stop) override {
    store_.roll_back(image_, snapshot, std::move(stop));
  }
  bool head_unchanged_since(const Snapshot& snapshot, std::stop_token stop) override {
    return store_.head_unchanged_since(image_, snapshot, std::move(stop));
  }
  /// It has no lock that would tell.
  bool head_unchanged_since_transfer(const std::string& /*id*/, std::stop_token /*stop*/) override { return false; }
  std::unique_ptr<DiffSink> write_diff(const TransferProgress& from, std::stop_token stop) override {
    return store_.write_diff(image_, from, std::move(stop));
  }
  Snapshot create_snapshot(const std::string& name) override {
    store_.require_unwatched(image_, "create snapshot");
    const Snapshot made = store_.create_snapshot(image_, name);
    store_.require_unwatched(image_, "create snapshot");
    return made;
  }

 private:
  RbdCommandStore& store_;
  ImageSpec image_;
};

RbdCommandStore::RbdCommandStore(std::shared_ptr<Shell> shell, CephAccess access)
    : shell_(std::move(shell)), access_(std::move(access)) {}

CommandResult RbdCommandStore::run(const std::vector<std::string>& argv, std::chrono::milliseconds limit,
                                   std::stop_token stop) {
  return shell_->run(argv, {}, limit, std::move(stop));
}

const CephAccess& RbdCommandStore::access() {
  std::call_once(access_is_asked_, [this] {
    if (access_.with_defaults) return;
    // Up to 20.2.3 this wins over auth_client_required where a configuration has it; later releases do not know it,
    // and refuse what names it.
    std::vector<std::string> argv{"rbd"};
    const std::vector<std::string> options = rbd::access_options(access_);
    argv.insert(argv.end(), options.begin(), options.end());
    argv.insert(argv.end(), {"--show-config-value", "auth_supported"});
    const CommandResult result = run(argv, question);
    if (result.exit_status != 0 || result.output.find_first_not_of(" \n") == std::string::npos) return;
    access_.settings.emplace_back("auth_supported", access_.keyring.empty() ? "none" : "cephx");
  });
  return access_;
}

std::vector<std::string> RbdCommandStore::command(const ImageSpec& image, const std::vector<std::string>& words) {
  std::vector<std::string> argv = rbd::rbd_command(access(), image);
  argv.insert(argv.end(), words.begin(), words.end());
  return argv;
}

CommandResult RbdCommandStore::rbd(const ImageSpec& image, const std::vector<std::string>& words,
                                   const std::string& operation, std::chrono::milliseconds limit,
                                   std::stop_token stop, int accepted) {
  CommandResult result = run(command(image, words), limit, std::move(stop));
  if (result.exit_status != 0 && result.exit_status != accepted) {
    throw explain(image, result, operation);
  }
  return result;
}

Error RbdCommandStore::explain(const ImageSpec& image, const CommandResult& result, const std::string& operation) {
  Error error = error_of_command(result, operation, to_string(image));
  if (result.exit_status == EROFS) {
    const CommandResult info = run(command(image, {"info", "--format", "json", "--image", image.name}), question);
    if (info.exit_status != 0) return error;
    const ImageState state = rbd::parse_info(rbd::parse_json(info.output, operation, to_string(image)), image);
    const std::string why = why_unwritable(image, state.layout.features);
    return why.empty() ? error : Error(ErrorCode::conflict, operation, to_string(image), why, false, EROFS);
  }
  if (result.exit_status == ENOENT && result.errors.find("error opening image") != std::string::npos) {
    const std::string why = why_missing(image);
    if (why.empty()) return error;
    return {ErrorCode::not_found, operation, to_string(image), "there is no such image: " + why, false, ENOENT};
  }
  return error;
}

std::string RbdCommandStore::why_missing(const ImageSpec& image) {
  const CommandResult result =
      run(command(image, {"trash", "ls", "--all", "--long", "--format", "json"}), question);
  if (result.exit_status != 0) return {};
  const nlohmann::json list = rbd::parse_json(result.output, "look into trash", image.pool);
  const std::optional<rbd::TrashEntry> entry = rbd::find_in_trash(list, image.name);
  return entry ? why_in_trash(image, entry->id, entry->is_migration) : std::string();
}

std::string RbdCommandStore::fsid() {
  std::vector<std::string> argv = rbd::ceph_command(access());
  argv.emplace_back("fsid");
  CommandResult result = run(argv, question);
  if (result.exit_status != 0) throw error_of_command(result, "read fsid", shell_->host());
  while (!result.output.empty() && result.output.back() == '\n') result.output.pop_back();
  if (result.output.size() != 36)
    throw Error(ErrorCode::format, "read fsid", shell_->host(), "the answer is no fsid");
  return result.output;
}

std::int64_t RbdCommandStore::pool_id(const std::string& pool) {
  const std::lock_guard lock(mutex_);
  if (const auto known = pool_ids_.find(pool); known != pool_ids_.end()) return known->second;
  std::vector<std::string> argv = rbd::ceph_command(access());
  argv.insert(argv.end(), {"osd", "lspools", "--format", "json"});
  const CommandResult result = run(argv, question);
  if (result.exit_status != 0) throw error_of_command(result, "list pools", shell_->host());
  const nlohmann::json pools = rbd::parse_json(result.output, "list pools", shell_->host());
  for (const nlohmann::json& entry : pools) {
    pool_ids_[entry.value("poolname", "")] = entry.value("poolnum", std::int64_t{-1});
  }
  const auto found = pool_ids_.find(pool);
  if (found == pool_ids_.end()) throw Error(ErrorCode::not_found, "open pool", pool, "there is no such pool");
  return found->second;
}

std::vector<std::optional<ImageState>> RbdCommandStore::survey(std::span<const ImageSpec> images) {
  const std::string token = make_token();
  const CommandResult result = run(rbd::survey_command(access(), images, token), question);
  // The script fails only if there is no shell; the commands' own ends are in the frames.
  if (result.output.empty() && result.exit_status != 0) {
    throw error_of_command(result, "look at images", shell_->host());
  }
  std::vector<std::optional<ImageState>> states = rbd::parse_survey(result.output, images, token);
  for (std::size_t index = 0; index < images.size(); ++index) {
    if (states[index]) states[index]->pool_id = pool_id(images[index].pool);
  }
  return states;
}

std::optional<ImageState> RbdCommandStore::find(const ImageSpec& image) {
  return std::move(survey({&image, 1}).front());
}

std::vector<std::optional<ImageState>> RbdCommandStore::find_all(std::span<const ImageSpec> images) {
  // A few commands at once: each starts four processes per image, one after the other.
  const std::size_t share =
      std::clamp<std::size_t>((images.size() + commands_at_once - 1) / commands_at_once, 1, images_per_command);
  std::vector<std::optional<ImageState>> states(images.size());
  for (std::size_t start = 0; start < images.size();) {
    std::array<std::exception_ptr, commands_at_once> failures;
    {
      std::vector<std::jthread> lookers;
      for (std::size_t looker = 0; looker < commands_at_once && start < images.size(); ++looker) {
        const std::size_t count = std::min(share, images.size() - start);
        lookers.emplace_back([this, images, start, count, &states, &failure = failures[looker]] {
          try {
            auto found = survey(images.subspan(start, count));
            std::move(found.begin(), found.end(), states.begin() + static_cast<std::ptrdiff_t>(start));
          } catch (...) {
            failure = std::current_exception();
          }
        });
        start += count;
      }
    }
    for (const std::exception_ptr& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
  }
  return states;
}

std::uint64_t RbdCommandStore::available_bytes(const std::string& pool) {
  std::vector<std::string> argv = rbd::ceph_command(access());
  argv.insert(argv.end(), {"df", "--format", "json"});
  const CommandResult result = run(argv, question);
  if (result.exit_status != 0) throw error_of_command(result, "read free space", pool);
  const nlohmann::json usage = rbd::parse_json(result.output, "read free space", pool);
  if (const auto bytes = rbd::available_bytes_of(usage, pool)) return *bytes;
  throw Error(ErrorCode::unsupported, "read free space", pool, "the cluster reports no usage (no active manager)");
}

void RbdCommandStore::create(const ImageSpec& image, const ImageLayout& layout) {
  ImageLayout plain = layout;
  rbd::normalise(plain);
  const std::uint64_t object_bytes = std::uint64_t{1} << layout.order;
  // Striping follows from its options; naming it too is refused by some releases.
  const std::uint64_t features = rbd::features_to_create(layout) & ~image_feature::striping;
  std::vector<std::string> words{"create",
                                 "--image-format",
                                 "2",
                                 "--size",
                                 fmt::format("{}B", layout.size_bytes),
                                 "--object-size",
                                 fmt::format("{}B", object_bytes),
                                 "--image-feature",
                                 fmt::format("{}", fmt::join(rbd::feature_names(features), ","))};
  if (rbd::is_striped(plain)) {
    const std::uint64_t unit = plain.stripe_unit != 0 ? plain.stripe_unit : object_bytes;
    words.insert(words.end(),
                 {"--stripe-unit", fmt::format("{}B", unit), "--stripe-count", std::to_string(plain.stripe_count)});
  }
  if (!layout.data_pool.empty()) words.insert(words.end(), {"--data-pool", layout.data_pool});
  words.insert(words.end(), {"--image", image.name});
  rbd(image, words, "create image", small_change);
}

void RbdCommandStore::remove(const ImageSpec& image) {
  rbd(image, {"rm", "--no-progress", "--image", image.name}, "remove image", whole_image);
}

void RbdCommandStore::trash(const ImageSpec& image, std::chrono::seconds delay) {
  // RBD itself moves an image that is open, too.
  require_unwatched(image, "move image to trash");
  // The time goes through date(1).
  rbd(image, {"trash", "mv", "--expires-at", fmt::format("{} seconds", delay.count()), "--image", image.name},
      "move image to trash", small_change);
}

nlohmann::json RbdCommandStore::ask(const ImageSpec& image, std::vector<std::string> words,
                                    const std::string& operation) {
  words.insert(words.end(), {"--format", "json", "--image", image.name});
  return rbd::parse_json(rbd(image, words, operation, question).output, operation, to_string(image));
}

void RbdCommandStore::require(const ImageSpec& image, std::span<const Snapshot> snapshots,
                              const std::string& operation) {
  const std::vector<Snapshot> listed = rbd::parse_snapshots(ask(image, {"snap", "ls"}, operation));
  for (const Snapshot& wanted : snapshots) {
    const std::string subject = to_string(image) + "@" + wanted.name;
    const auto found = std::find_if(listed.begin(), listed.end(),
                                    [&](const Snapshot& snapshot) { return snapshot.name == wanted.name; });
    if (found == listed.end()) throw Error(ErrorCode::not_found, operation, subject, "there is no such snapshot");
    if (found->id != wanted.id) {
      throw Error(ErrorCode::conflict, operation, subject,
                  fmt::format("the name now means snapshot {} instead of {}", found->id, wanted.id));
    }
  }
}

void RbdCommandStore::require_unwatched(const ImageSpec& image, const std::string& operation) {
  const std::vector<std::string> watchers = rbd::parse_watchers(ask(image, {"status"}, operation));
  if (watchers.empty()) return;
  throw Error(ErrorCode::in_use, operation, to_string(image),
              fmt::format("open for writing by {}", fmt::join(watchers, ", ")), true);
}

ImageLayout RbdCommandStore::layout(const ImageSpec& image, const std::string& operation) {
  return rbd::parse_info(ask(image, {"info"}, operation), image).layout;
}

Snapshot RbdCommandStore::create_snapshot(const ImageSpec& image, const std::string& name) {
  rbd(image, {"snap", "create", "--no-progress", "--image", image.name, "--snap", name}, "create snapshot",
      small_change);
  for (Snapshot& snapshot : rbd::parse_snapshots(ask(image, {"snap", "ls"}, "create snapshot"))) {
    if (snapshot.name == name) return std::move(snapshot);
  }
  throw Error(ErrorCode::not_found, "create snapshot", to_string(image) + "@" + name,
              "it was removed right after it was made");
}

void RbdCommandStore::remove_snapshot(const ImageSpec& image, const Snapshot& snapshot) {
  try {
    require(image, {&snapshot, 1}, "remove snapshot");
  } catch (const Error& error) {
    if (error.code() == ErrorCode::not_found) return;  // the snapshot, or the whole image
    throw;
  }
  // By id: a name may have changed its meaning since the look.
  const std::vector<std::string> words{"snap",     "rm",        "--image",
                                       image.name, "--snap-id", std::to_string(snapshot.id)};
  rbd(image, words, "remove snapshot", whole_image, {}, ENOENT);
}

std::unique_ptr<ImageHold> RbdCommandStore::hold(const ImageSpec& image, std::stop_token stop) {
  check_stop(stop);
  return std::make_unique<Hold>(*this, image);
}

void RbdCommandStore::roll_back(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) {
  check_stop(stop);
  require(image, {&snapshot, 1}, "roll back");
  require_unwatched(image, "roll back");
  rbd(image, {"snap", "rollback", "--no-progress", "--image", image.name, "--snap", snapshot.name}, "roll back",
      whole_image, std::move(stop));
}

void RbdCommandStore::set_metadata(const ImageSpec& image, const std::string& key, const std::string& value) {
  if (value.empty()) {
    throw Error(ErrorCode::usage, "set metadata", to_string(image), "rbd stores no empty values");
  }
  // A value may look like an option.
  rbd(image, {"image-meta", "set", "--image", image.name, "--", key, value}, "set metadata", small_change);
}

void RbdCommandStore::remove_metadata(const ImageSpec& image, const std::string& key) {
  const CommandResult result = rbd(image, {"image-meta", "remove", "--image", image.name, "--", key},
                                   "remove metadata", small_change, {}, ENOENT);
  // The same status stands for an image that is not there.
  if (result.exit_status != 0 && result.errors.find("error opening") != std::string::npos) {
    throw error_of_command(result, "remove metadata", to_string(image));
  }
}

bool RbdCommandStore::head_unchanged_since(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) {
  check_stop(stop);
  require(image, {&snapshot, 1}, "compare with snapshot");
  if (layout(image, "compare with snapshot").size_bytes != snapshot.size_bytes) return false;
  const auto process = shell_->start(command(image, {"export-diff", "--no-progress", "--from-snap", snapshot.name,
                                                     "--image", image.name, "--path", "-"}),
                                     std::move(stop));
  return rbd::export_is_empty(*process, snapshot.size_bytes, to_string(image));
}

void RbdCommandStore::read_diff(const ImageSpec& image, const std::optional<Snapshot>& from, const Snapshot& to,
                                std::uint64_t offset, DiffSink& sink, std::stop_token stop) {
  check_stop(stop);
  if (from && from->id >= to.id) {
    throw Error(ErrorCode::usage, "read diff", to_string(image),
                fmt::format("{} is not older than {}", from->name, to.name));
  }
  std::vector<Snapshot> ends{to};
  if (from) ends.push_back(*from);
  require(image, ends, "read diff");
  std::vector<std::string> words{"export-diff", "--no-progress", "--image", image.name, "--snap", to.name};
  std::optional<std::string> from_name;
  if (from) {
    from_name = from->name;
    words.insert(words.end(), {"--from-snap", from->name});
  }
  words.insert(words.end(), {"--path", "-"});
  const auto process = shell_->start(command(image, words), stop);
  rbd::read_export(*process, from_name, to.name, offset, sink, to_string(image));
  // Ids are never used again: snapshots that have the same before and after were there all the time.
  require(image, ends, "read diff");
  check_stop(stop);
  sink.finish();
}

void RbdCommandStore::read_ranges(const ImageSpec& image, const Snapshot& snapshot,
                                  std::span<const ByteRange> ranges, DiffSink& sink, std::stop_token stop) {
  RangeFilter filter(sink, ranges);
  read_diff(image, std::nullopt, snapshot, 0, filter, std::move(stop));
}

void RbdCommandStore::hash_blocks(const ImageSpec& image, const Snapshot& snapshot, const BlockSelection& blocks,
                                  const std::function<void(const BlockHash&)>& take, std::stop_token stop) {
  if (blocks.sample) {
    throw Error(ErrorCode::unsupported, "hash blocks", to_string(image),
                fmt::format("the stock rbd command on {} reads all of an image to hash some of it; do without the "
                            "sample, or install crossover there",
                            shell_->host()));
  }
  hash_blocks_here(*this, image, snapshot, blocks, take, stop);
}

std::unique_ptr<DiffSink> RbdCommandStore::write_diff(const ImageSpec& image, const TransferProgress& from,
                                                      std::stop_token stop) {
  check_stop(stop);
  require_unwatched(image, "write diff");
  if (from.offset != 0) {
    const std::optional<ImageState> state = find(image);
    if (!state) throw Error(ErrorCode::not_found, "write diff", to_string(image), "there is no such image");
    const auto stored = state->metadata.find(std::string(progress_key));
    require_progress(stored == state->metadata.end() ? std::nullopt : std::optional(stored->second), from,
                     to_string(image));
  }
  // With its cache `rbd` counts writes as done before they are, and loses their errors. Without the cache it writes
  // one record at a time from "-", but many from a path.
  // Whoever ends this early ends it by closing its input, which `rbd` refuses as a stream without an end: killed by
  // a signal it would leave the image watched for half a minute.
  // A server learns that its client is gone only from what it sends: without the lines it would keep the image open
  // for hours after the link was cut.
  std::vector<std::string> argv{"sh", "-c",
                                R"(trap '' HUP TERM; while sleep 5 >&- 2>&-; do echo; done & cat | "$@"; )"
                                R"(status=$?; kill -9 $!; exit $status)",
                                "sh"};
  const std::vector<std::string> words =
      command(image, {"--rbd_cache", "false", "--rbd_concurrent_management_ops", "32", "import-diff",
                      "--no-progress", "--image", image.name, "--path", "/dev/stdin"});
  argv.insert(argv.end(), words.begin(), words.end());
  return rbd::make_import_sink(shell_->start(argv, std::move(stop)), to_string(image), from.offset,
                               [this, image](std::uint64_t wanted) {
                                 const std::uint64_t size = layout(image, "write diff").size_bytes;
                                 if (size == wanted) return;
                                 throw Error(ErrorCode::io, "write diff", to_string(image),
                                             fmt::format("the image has {} bytes instead of {}", size, wanted));
                               });
}

}  // namespace crossover
