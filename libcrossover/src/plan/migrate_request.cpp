#include "plan/migrate_request.hpp"

#include <fmt/format.h>

#include "crossover/byte_size.hpp"
#include "crossover/error.hpp"
#include "model/text.hpp"

namespace crossover {

namespace {

std::size_t round_count(const std::string& text) {
  constexpr std::uint64_t most = 100;
  const auto count = text::all_digits(text) ? text::to_uint64(text) : std::nullopt;
  if (!count || *count < 1 || *count > most) {
    throw Error(ErrorCode::usage, "option", "--precopy-rounds",
                fmt::format("'{}' is no number from 1 to {}", text, most));
  }
  return static_cast<std::size_t>(*count);
}

}  // namespace

MigrateRequest parse_options(const MirrorOptions& mirror, const MigrateOptions& options) {
  MigrateRequest request;
  request.mirror = parse_options(mirror);
  // Guests that run are what it is there for.
  request.mirror.options.online = true;
  request.options = options;
  const auto contradicts = [](bool given, const char* option, const char* why) {
    if (given) throw Error(ErrorCode::usage, "option", option, std::string(why) + "; leave out it or --migrate");
  };
  contradicts(mirror.keep_destination_lock, "--keep-dlock", "a replica that stays locked cannot be started");
  contradicts(mirror.reseed, "--reseed", "each round before the switch would copy everything anew");
  contradicts(mirror.allow_left_out, "--allow-left-out", "a guest does not move without a disk of its own");
  contradicts(mirror.no_lock, "--nolock", "a migration rests on the guest's lock");
  contradicts(mirror.vmid == "all" || !mirror.tag.empty(), "--vmid",
              "guests that are migrated are named one by one");
  contradicts(options.no_start && options.ha, "--ha", "high availability would start what --no-start leaves off");
  request.suspend = options.mode == "suspend";
  if (!request.suspend && options.mode != "shutdown") {
    throw Error(ErrorCode::usage, "option", "--migrate-mode",
                fmt::format("'{}' is neither 'shutdown' nor 'suspend'", options.mode));
  }
  const auto has_no_effect = [&request](bool given, const char* option, const char* why) {
    if (request.suspend && given) {
      throw Error(ErrorCode::usage, "option", option,
                  std::string(why) + "; leave out it or --migrate-mode=suspend");
    }
  };
  has_no_effect(options.shutdown_timeout != MigrateOptions{}.shutdown_timeout, "--shutdown-timeout",
                "a guest that is suspended is not asked to shut down");
  has_no_effect(options.force_stop, "--force-stop", "a guest that is suspended is not asked to shut down");
  has_no_effect(options.no_start, "--no-start",
                "what was saved of a guest's memory is of no use until it is started");
  if (!options.precopy_threshold.empty()) {
    request.precopy_threshold = parse_bytes("--precopy-threshold", options.precopy_threshold);
  }
  request.precopy_rounds = round_count(options.precopy_rounds);
  request.shutdown_timeout = parse_keep_window("--shutdown-timeout", options.shutdown_timeout).length;
  if (request.shutdown_timeout.count() == 0) {
    throw Error(ErrorCode::usage, "option", "--shutdown-timeout", "it has to be more than 0s");
  }
  return request;
}

}  // namespace crossover
