#include "rbd/rbd_survey.hpp"

#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "crossover/error.hpp"
#include "engine/shell.hpp"
#include "rbd/rbd_command_line.hpp"
#include "rbd/rbd_error.hpp"
#include "rbd/rbd_json.hpp"

namespace crossover::rbd {

namespace {

// Parameters: the token, how many words the command begins with, those words, then pool, namespace and name of each
// image. `eval` only ever sees the names of parameters, never a value.
constexpr const char* script = R"(
token=$1 words=$2
shift 2
exec 3>&1
begin= i=0
while [ $i -lt $words ]; do
  i=$((i + 1))
  begin="$begin \"\${$i}\""
done
ask() {
  errors=$("$@" 2>&1 >&3 </dev/null)
  status=$?
  printf '\n%s %d\n%s\n%s\n' "$token" $status "$errors" "$token" >&3
  return $status
}
while [ $i -lt $# ]; do
  eval "pool=\${$((i + 1))} namespace=\${$((i + 2))} name=\${$((i + 3))}"
  i=$((i + 3))
  rbd="$begin -p \"\$pool\" \${namespace:+--namespace \"\$namespace\"}"
  eval "ask $rbd info --format json --image \"\$name\"" || continue
  eval "ask $rbd snap ls --format json --image \"\$name\""
  eval "ask $rbd image-meta list --format json --image \"\$name\""
  eval "ask $rbd status --format json --image \"\$name\""
done
)";

/// Takes the frames off the output, one after the other.
class FrameReader {
 public:
  FrameReader(std::string_view output, const std::string& token)
      : output_(output), begin_("\n" + token + " "), end_("\n" + token + "\n") {}

  CommandResult next() {
    CommandResult result;
    result.output = until(begin_);
    const std::string_view status = until("\n");
    const auto parsed = std::from_chars(status.data(), status.data() + status.size(), result.exit_status);
    if (parsed.ec != std::errc()) fail();
    result.errors = until(end_);
    return result;
  }

 private:
  std::string_view until(std::string_view mark) {
    const std::size_t found = output_.find(mark);
    if (found == std::string_view::npos) fail();
    const std::string_view taken = output_.substr(0, found);
    output_.remove_prefix(found + mark.size());
    return taken;
  }
  [[noreturn]] static void fail() {
    throw Error(ErrorCode::command, "look at images", {}, "the answer ends early", true);
  }

  std::string_view output_;
  std::string begin_;
  std::string end_;
};

nlohmann::json answer(FrameReader& frames, const char* operation, const std::string& subject) {
  const CommandResult result = frames.next();
  if (result.exit_status != 0) throw error_of_command(result, operation, subject);
  // Older releases print nothing where there is nothing.
  if (result.output.find_first_not_of(" \n") == std::string::npos) return nlohmann::json::object();
  return parse_json(result.output, operation, subject);
}

}  // namespace

std::vector<std::string> survey_command(const CephAccess& access, std::span<const ImageSpec> images,
                                        const std::string& token) {
  const std::vector<std::string> options = access_options(access);
  std::vector<std::string> out{"sh", "-c", script, "sh", token, std::to_string(options.size() + 1), "rbd"};
  out.insert(out.end(), options.begin(), options.end());
  for (const ImageSpec& image : images) out.insert(out.end(), {image.pool, image.rados_namespace, image.name});
  return out;
}

std::vector<std::optional<ImageState>> parse_survey(std::string_view output, std::span<const ImageSpec> images,
                                                    const std::string& token) {
  FrameReader frames(output, token);
  std::vector<std::optional<ImageState>> out;
  for (const ImageSpec& image : images) {
    const std::string subject = to_string(image);
    const CommandResult info = frames.next();
    if (info.exit_status == ENOENT && info.errors.find("error opening pool") == std::string::npos) {
      out.emplace_back();
      continue;
    }
    if (info.exit_status != 0) throw error_of_command(info, "look at image", subject);
    ImageState state = parse_info(parse_json(info.output, "look at image", subject), image);
    const nlohmann::json snapshots = answer(frames, "list snapshots", subject);
    if (!snapshots.empty()) state.snapshots = parse_snapshots(snapshots);
    state.metadata = parse_metadata(answer(frames, "list metadata", subject));
    state.watchers = parse_watchers(answer(frames, "list watchers", subject));
    out.emplace_back(std::move(state));
  }
  return out;
}

}  // namespace crossover::rbd
