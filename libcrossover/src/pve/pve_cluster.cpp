#include "pve/pve_cluster.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <condition_variable>
#include <future>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "crossover/cluster_files.hpp"
#include "crossover/error.hpp"
#include "engine/unexpected_error.hpp"
#include "plan/saved_state.hpp"
#include "pve/scripts.hpp"
#include "pve/survey_answer.hpp"

namespace crossover {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// How long PVE's own commands wait for a guest's flock.
constexpr int flock_wait_seconds = 10;
constexpr seconds survey_limit{60};
constexpr seconds file_limit{30};
constexpr seconds status_limit{30};
/// PVE itself gives up earlier: it allows a second for each GiB of memory, and five for each network card.
constexpr seconds start_limit{600};
/// What `qm shutdown` takes beside waiting for the guest: for its flock, for QEMU to answer, for SIGTERM and
/// SIGKILL.
constexpr seconds shut_down_slack{60};
/// PVE asks a guest once. One that is just starting hears nothing of it, and some heed only the second press of the
/// power button; so it is asked again.
constexpr seconds ask_again_after{20};
/// The whole memory of a guest is written: at 100 MB/s, 1 TiB takes three hours.
constexpr std::chrono::hours suspend_limit{12};
constexpr seconds ha_command_limit{60};
/// The managers go round every ten seconds, and longer if another node has to become their master first.
constexpr seconds ha_notice_limit{60};
constexpr seconds go_on_limit{60};
constexpr std::chrono::milliseconds go_on_interval{250};
/// Removing an image takes as long as it has objects.
constexpr std::chrono::hours destroy_limit{12};

std::vector<std::string> perl(std::string_view script, std::vector<std::string> arguments) {
  std::vector<std::string> argv{"perl", "-e", std::string(script), "--"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return argv;
}

std::string last_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  const std::size_t begin = text.rfind('\n');
  return std::string(begin == std::string_view::npos ? text : text.substr(begin + 1));
}

/// The command's output; its error text as an Error if it failed.
std::string checked(const CommandResult& result, const std::string& operation, const std::string& subject) {
  if (result.exit_status == 0) return result.output;
  const std::string said = last_line(result.errors);
  throw Error(ErrorCode::command, operation, subject,
              said.empty() ? fmt::format("exit status {}", result.exit_status) : said);
}

std::string config_path(const std::string& node, std::uint32_t vmid) {
  return fmt::format("/etc/pve/nodes/{}/qemu-server/{}.conf", node, vmid);
}

std::string subject_of(const std::string& node, std::uint32_t vmid) {
  return fmt::format("VM {} on {}", vmid, node);
}

/// The first warning in what one of PVE's commands printed, without its mark; empty if there is none.
std::string warning_in(const std::string& text) {
  constexpr std::string_view mark = "WARN: ";
  const std::size_t at = ("\n" + text).find("\n" + std::string(mark));
  if (at == std::string::npos) return "";
  const std::size_t begin = at + mark.size();
  return text.substr(begin, text.find('\n', begin) - begin);
}

/// PVE's own lock on a guest's configuration, local to the node.
std::string flock_path(std::uint32_t vmid) {
  return fmt::format("/var/lock/qemu-server/lock-{}.conf", vmid);
}

/// Cuts "word rest\n" off the front of a script's answer.
std::pair<std::string, std::string> take_answer(std::string& output) {
  const std::size_t end = std::min(output.find('\n'), output.size());
  const std::string line = output.substr(0, end);
  output.erase(0, std::min(end + 1, output.size()));
  const std::size_t blank = line.find(' ');
  if (blank == std::string::npos) return {line, ""};
  return {line.substr(0, blank), line.substr(blank + 1)};
}

/// Where PVE has the number of a guest's QEMU, on its node.
std::string pid_path(std::uint32_t vmid) {
  return fmt::format("/var/run/qemu-server/{}.pid", vmid);
}

/// A script that does something to a guest, says so in lines, and takes it back when its input ends or the beats
/// that it was promised do not come. It is started without a stop token: cancelling has to wait until it has taken
/// back what it did.
class Undoing {
 public:
  Undoing(std::unique_ptr<Process> process, std::string operation, std::string subject)
      : process_(std::move(process)), operation_(std::move(operation)), subject_(std::move(subject)) {}

  [[nodiscard]] const std::string& subject() const { return subject_; }
  [[nodiscard]] bool ended() const { return process_ == nullptr; }

  void write(std::string_view bytes) { process_->write(std::as_bytes(std::span(bytes))); }

  /// The script's next line as word and rest.
  std::pair<std::string, std::string> answer() {
    std::array<std::byte, 256> buffer{};
    while (buffered_.find('\n') == std::string::npos) {
      const std::size_t count = process_->read(buffer);
      if (count == 0) break;
      buffered_.append(reinterpret_cast<const char*>(buffer.data()), count);
    }
    if (buffered_.empty()) {
      const CommandResult result = process_->wait();
      process_.reset();
      throw Error(ErrorCode::command, operation_, subject_,
                  result.errors.empty() ? "its process ended without a word" : last_line(result.errors));
    }
    return take_answer(buffered_);
  }

  /// Tells it every `interval` that somebody is there, until take_back(): in between nothing else uses it.
  void beat(milliseconds interval) {
    beating_ = std::jthread([this, interval](const std::stop_token& ending) {
      std::mutex mutex;
      std::condition_variable_any never;
      std::unique_lock lock(mutex);
      const auto ends = [&ending] { return ending.stop_requested(); };
      try {
        while (!never.wait_for(lock, ending, interval, ends)) write("beat\n");
      } catch (...) {  // NOLINT(bugprone-empty-catch): why it takes no more is in what it said
      }
    });
  }

  /// Ends its input and waits for what it says to that.
  std::pair<std::string, std::string> take_back() {
    beating_ = {};
    process_->close_input();
    const auto said = answer();
    process_.reset();
    return said;
  }

 private:
  std::unique_ptr<Process> process_;
  std::string operation_;
  std::string subject_;
  std::string buffered_;
  std::jthread beating_;  // last: it uses everything above
};

std::string in_seconds(milliseconds duration) {
  return fmt::format("{:.3f}", std::chrono::duration<double>(duration).count());
}

/// Why a script let go by itself.
std::string nothing_heard(const HoldBeat& beat) {
  return fmt::format("nothing was heard of this run for {} s",
                     std::chrono::duration_cast<seconds>(beat.silence).count());
}

/// What the words of scripts/hold_guest.pl mean for one way to hold a guest.
struct HoldWords {
  const char* way;        // its argument
  const char* operation;  // in errors
  const char* held;
  const char* released;
  const char* by_hand;  // what a human can do
};

constexpr HoldWords words_of(HoldWay way) {
  if (way == HoldWay::freeze) {
    return {"freeze", "freeze", "frozen", "thawed", "'qm guest cmd {} fsfreeze-thaw'"};
  }
  return {"pause", "pause", "paused", "resumed", "'qm resume {}'"};
}

/// The far end of scripts/hold_guest.pl.
class NodeGuestHold final : public GuestHold {
 public:
  NodeGuestHold(std::unique_ptr<Process> process, HoldWay way, std::uint32_t vmid, const std::string& node,
                const HoldBeat& beat)
      : script_(std::move(process), words_of(way).operation, subject_of(node, vmid)),
        words_(words_of(way)),
        beat_(beat),
        vmid_(vmid) {}

  ~NodeGuestHold() override {
    // The script lets the guest go when its input ends. Waiting for it keeps a guest from being held longer than
    // this object lives.
    try {
      if (!script_.ended()) (void)release();
    } catch (
        ...) {  // NOLINT(bugprone-empty-catch): the script goes on trying, and whoever unwinds has an error to tell
    }
  }

  /// Waits until the guest is held.
  void take(milliseconds deadline) {
    const auto [word, rest] = script_.answer();
    if (word == "held" || word == "already") {
      already_ = rest;
      return script_.beat(beat_.interval);
    }
    if (word == "refused") throw error(ErrorCode::unsupported, rest);
    if (word == "late") {
      throw error(ErrorCode::timeout, fmt::format("it was not {} within {:.1f} s; it goes on again", words_.held,
                                                  static_cast<double>(deadline.count()) / 1000));
    }
    throw not_ended(word, rest, ErrorCode::timeout);
  }

  [[nodiscard]] const std::string& already() const override { return already_; }

  milliseconds release() override {
    const auto [word, rest] = script_.take_back();
    double held = 0;
    std::from_chars(rest.data(), rest.data() + rest.size(), held);
    if (word == "released") return milliseconds(static_cast<std::int64_t>(held * 1000));
    if (word == "expired" || word == "silent") {
      throw error(ErrorCode::timeout,
                  fmt::format("the guest was {} after {:.1f} s because {}",
                              already_.empty() ? words_.released : "let go", held,
                              word == "expired" ? "the freeze timeout had passed" : nothing_heard(beat_)));
    }
    if (word == "lost") throw error(ErrorCode::conflict, fmt::format("it did not stay {}: {}", words_.held, rest));
    throw not_ended(word, rest, ErrorCode::command);
  }

 private:
  [[nodiscard]] Error error(ErrorCode code, const std::string& cause) const {
    // A pause that did not last is nothing for a human: the next run makes another one.
    return {code, words_.operation, script_.subject(), cause, code == ErrorCode::conflict};
  }

  [[nodiscard]] Error not_ended(const std::string& word, const std::string& rest, ErrorCode code) const {
    if (word != "stuck") return error(ErrorCode::format, fmt::format("unexpected answer '{}'", word));
    return error(code, fmt::format("the guest does not say that it is {} ({}); run {} on its node", words_.released,
                                   rest, fmt::format(fmt::runtime(words_.by_hand), vmid_)));
  }

  Undoing script_;
  HoldWords words_;
  HoldBeat beat_;
  std::uint32_t vmid_;
  std::string already_;
};

/// A file's modification time as the scripts print it.
std::int64_t parse_time(const std::string& text, const std::string& operation, const std::string& subject) {
  std::int64_t time = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), time);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw Error(ErrorCode::format, operation, subject, "unexpected answer");
  }
  return time;
}

/// What scripts/replace_file.pl has to find. Its words are said here and nowhere else: what somebody else asks for
/// comes as a value.
std::string expectation(const std::optional<ConfigVersion>& expected) {
  if (!expected) return "absent";
  return expected->modified ? std::to_string(*expected->modified) : "bytes";
}

/// What scripts/replace_file.pl says to an attempt to write, as the time of the file it wrote.
std::int64_t written_time(const std::pair<std::string, std::string>& answer, const std::string& subject,
                         bool expected_none) {
  const auto& [word, time] = answer;
  if (word == "written") return parse_time(time, "write configuration", subject);
  if (word == "changed") {
    throw Error(ErrorCode::conflict, "write configuration", subject,
                expected_none ? "a configuration appeared there meanwhile; nothing was written"
                              : "somebody else changed it meanwhile; nothing was written",
                true);
  }
  if (word == "exists") {
    throw Error(ErrorCode::already_exists, "write configuration", subject,
                "another node or a container has this VMID; nothing was written");
  }
  if (word == "locked") {
    throw Error(ErrorCode::locked, "write configuration", subject,
                fmt::format("PVE's lock on it stayed taken for {} s", flock_wait_seconds), true);
  }
  throw Error(ErrorCode::format, "write configuration", subject, "unexpected answer");
}

/// The far end of scripts/replace_file.pl with HOLD.
class NodeConfigHold final : public ConfigHold {
 public:
  NodeConfigHold(std::unique_ptr<Process> process, std::string subject, const HoldBeat& beat)
      : script_(std::move(process), "write configuration", std::move(subject)), beat_(beat) {}

  ~NodeConfigHold() override {
    try {
      if (!script_.ended()) release();
    } catch (...) {  // NOLINT(bugprone-empty-catch): as above
    }
  }

  /// Gives the script the old and the new configuration and waits until the new one is in place.
  void take(const std::string& bytes) {
    script_.write(bytes);
    try {
      (void)written_time(script_.answer(), script_.subject(), false);
    } catch (...) {
      held_ = false;
      throw;
    }
    script_.beat(beat_.interval);
  }

  void release() override {
    auto said = script_.take_back();
    if (!std::exchange(held_, false)) return;
    const bool silent = said.first == "silent";
    if (silent) said = take_answer(said.second);
    (void)written_time(said, script_.subject(), false);
    if (silent) throw Error(ErrorCode::timeout, "hold configuration", script_.subject(), nothing_heard(beat_));
  }

 private:
  Undoing script_;
  HoldBeat beat_;
  bool held_ = true;
};

}  // namespace

PveCluster::PveCluster(Shell& entry, OpenShell open_shell, HoldBeat beat)
    : entry_(entry), open_shell_(std::move(open_shell)), beat_(beat) {}

std::map<std::uint32_t, std::string> PveCluster::look_for_nodes(const std::stop_token& stop) {
  const CommandResult result = entry_.run(perl(scripts::survey, {"nodes"}), "", file_limit, stop);
  const SurveyAnswer answer = parse_survey_answer(checked(result, "look for nodes", entry_.host()), entry_.host());
  ClusterInventory inventory = cluster_inventory(answer, entry_.host());
  entry_node_ = inventory.entry_node;
  nodes_ = std::move(inventory.nodes);
  std::map<std::uint32_t, std::string> owners;
  if (const auto vmlist = answer.files.find(".vmlist"); vmlist != answer.files.end()) {
    for (const auto& [vmid, guest] : parse_vmlist(vmlist->second)) owners.emplace(vmid, guest.node);
  }
  return owners;
}

Shell& PveCluster::shell(const std::string& node, const std::stop_token& stop) {
  const std::scoped_lock lock(mutex_);
  if (nodes_.empty()) (void)look_for_nodes(stop);
  if (node == entry_node_) return entry_;
  const auto known = nodes_.find(node);
  if (known == nodes_.end()) {
    throw Error(ErrorCode::not_found, "connect", node, "the cluster has no node of that name");
  }
  std::unique_ptr<Shell>& shell = shells_[node];
  if (!shell) shell = open_shell_(known->second);
  return *shell;
}

ClusterInventory PveCluster::survey(const SurveyScope& scope, std::stop_token stop) {
  const auto ask = [&](Shell& shell, std::vector<std::string> words) {
    if (scope.versions) words.emplace_back("versions");
    const CommandResult result = shell.run(perl(scripts::survey, words), "", survey_limit, stop);
    return parse_survey_answer(checked(result, "survey", shell.host()), shell.host());
  };
  std::map<std::uint32_t, std::string> owners;
  std::map<std::string, NodeState> nodes;
  std::string entry_node;
  {
    const std::scoped_lock lock(mutex_);
    owners = look_for_nodes(stop);
    nodes = nodes_;
    entry_node = entry_node_;
  }
  const auto is_meant = [&](const std::string& node) {
    return !scope.guests || std::any_of(scope.guests->begin(), scope.guests->end(), [&](std::uint32_t vmid) {
      const auto owner = owners.find(vmid);
      return owner != owners.end() && owner->second == node;
    });
  };
  // All nodes at once: most of the time Proxmox's commands start.
  std::map<std::string, std::future<SurveyAnswer>> asked;
  const auto ask_those_meant = [&] {
    for (const auto& [name, node] : nodes) {
      if (name == entry_node || !node.online || asked.contains(name) || !is_meant(name)) continue;
      asked.emplace(name, std::async(std::launch::async, [this, &ask, &stop, name = name] {
                      return ask(shell(name, stop), {"node"});
                    }));
    }
  };
  ask_those_meant();
  ClusterInventory inventory = cluster_inventory(ask(entry_, {"cluster"}), entry_.host());
  // A guest may have come to another node meanwhile.
  for (const auto& [vmid, guest] : inventory.guests) owners[vmid] = guest.node;
  ask_those_meant();
  for (auto& [name, node] : inventory.nodes) {
    if (name == inventory.entry_node) continue;
    const auto answer = asked.find(name);
    if (answer == asked.end()) {
      if (is_meant(name)) node.unreachable = "the cluster says that it is offline";
      continue;
    }
    try {
      add_node(inventory, name, answer->second.get());
    } catch (...) {
      // A node that does not answer fails the guests on it, not the run.
      node.unreachable = failure_at_hand().what();
    }
  }
  return inventory;
}

std::optional<ConfigVersion> PveCluster::read_config(const std::string& node, std::uint32_t vmid,
                                                     std::stop_token stop) {
  const std::string path = config_path(node, vmid);
  const CommandResult result = shell(node, stop).run(perl(scripts::read_file, {path}), "", file_limit, stop);
  std::string output = checked(result, "read configuration", path);
  const auto [word, time] = take_answer(output);
  if (word == "absent") return std::nullopt;
  if (word != "present") throw Error(ErrorCode::format, "read configuration", path, "unexpected answer");
  return ConfigVersion{output, parse_time(time, "read configuration", path)};
}

ConfigVersion PveCluster::write_config(const std::string& node, std::uint32_t vmid,
                                       const std::optional<ConfigVersion>& expected, const std::string& bytes,
                                       std::stop_token stop) {
  const std::string path = config_path(node, vmid);
  const std::string subject = subject_of(node, vmid);
  const std::string old = expected ? expected->bytes : "";
  const CommandResult result =
      shell(node, stop)
          .run(perl(scripts::replace_file, {flock_path(vmid), path, expectation(expected), std::to_string(old.size()),
                                            std::to_string(flock_wait_seconds)}),
               old + bytes, file_limit, stop);
  std::string output = checked(result, "write configuration", subject);
  return {bytes, written_time(take_answer(output), subject, !expected)};
}

std::unique_ptr<ConfigHold> PveCluster::hold_config(const std::string& node, std::uint32_t vmid,
                                                    const ConfigVersion& expected, const std::string& bytes) {
  auto process = shell(node, {}).start(
      perl(scripts::replace_file,
           {flock_path(vmid), config_path(node, vmid), expectation(expected),
            std::to_string(expected.bytes.size()), std::to_string(flock_wait_seconds),
            std::to_string(bytes.size()), in_seconds(beat_.silence)}),
      {});
  auto hold = std::make_unique<NodeConfigHold>(std::move(process), subject_of(node, vmid), beat_);
  hold->take(expected.bytes + bytes);
  return hold;
}

void PveCluster::write_firewall(std::uint32_t vmid, const std::optional<std::string>& bytes, std::stop_token stop) {
  const std::string path = fmt::format("/etc/pve/firewall/{}.fw", vmid);
  if (!bytes) {
    checked(entry_.run({"rm", "-f", path}, "", file_limit, stop), "remove firewall rules", path);
    return;
  }
  const CommandResult result =
      entry_.run(perl(scripts::replace_file, {"-", path, "any", "0", "0"}), *bytes, file_limit, stop);
  std::string output = checked(result, "write firewall rules", path);
  if (take_answer(output).first != "written") {
    throw Error(ErrorCode::format, "write firewall rules", path, "unexpected answer");
  }
}

std::unique_ptr<GuestHold> PveCluster::hold_guest(HoldWay way, const std::string& node, std::uint32_t vmid,
                                                  milliseconds deadline, std::stop_token stop) {
  Shell& there = shell(node, stop);
  if (stop.stop_requested()) throw Cancelled{};
  // The script's own deadline bounds the wait of whoever is cancelled meanwhile.
  auto process = there.start(perl(scripts::hold_guest, {words_of(way).way, std::to_string(vmid),
                                                        in_seconds(deadline), in_seconds(beat_.silence)}),
                             {});
  auto hold = std::make_unique<NodeGuestHold>(std::move(process), way, vmid, node, beat_);
  hold->take(deadline);
  return hold;
}

Power PveCluster::power(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  const std::string subject = subject_of(node, vmid);
  const CommandResult result =
      shell(node, stop).run({"qm", "status", std::to_string(vmid)}, "", status_limit, stop);
  const std::string said = last_line(checked(result, "ask for the status", subject));
  if (!said.starts_with("status: ")) {
    throw Error(ErrorCode::format, "ask for the status", subject, fmt::format("unexpected answer '{}'", said));
  }
  return said == "status: stopped" ? Power::stopped : Power::running;
}

void PveCluster::start(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  const auto config = read_config(node, vmid, stop);
  const CommandResult result = shell(node, stop).run({"qm", "start", std::to_string(vmid)}, "", start_limit, stop);
  (void)checked(result, "start", subject_of(node, vmid));
  if (config && parse_vm_config(config->bytes).get("lock") == suspended_lock) see_it_go_on(node, vmid, stop);
}

void PveCluster::see_it_go_on(const std::string& node, std::uint32_t vmid, const std::stop_token& stop) {
  Shell& there = shell(node, stop);
  const std::string subject = subject_of(node, vmid);
  const auto deadline = std::chrono::steady_clock::now() + go_on_limit;
  for (bool resumed = false;;) {
    const CommandResult status = there.run({"qm", "status", std::to_string(vmid)}, "", status_limit, stop);
    const std::string state = last_line(checked(status, "start", subject));
    // While QEMU still reads what was saved it is in none of these.
    const bool stands_still = state == "status: paused" || state == "status: prelaunch" || state == "status: postmigrate";
    if (stands_still && !std::exchange(resumed, true)) {
      (void)checked(there.run({"qm", "resume", std::to_string(vmid)}, "", status_limit, stop), "resume", subject);
      continue;
    }
    if (!stands_still && state != "status: inmigrate" && state != "status: restore-vm") return;
    if (std::chrono::steady_clock::now() >= deadline) {
      throw Error(ErrorCode::timeout, "start", subject,
                  fmt::format("what was saved was loaded, and it does not go on ({}); 'qm resume {}' there", state, vmid));
    }
    std::mutex mutex;
    std::unique_lock lock(mutex);
    if (std::condition_variable_any().wait_for(lock, stop, go_on_interval, [&] { return stop.stop_requested(); })) {
      throw Cancelled{};
    }
  }
}

void PveCluster::shut_down(const std::string& node, std::uint32_t vmid, seconds timeout, bool force,
                           std::stop_token stop) {
  for (seconds left = timeout;; left -= ask_again_after) {
    const bool last = left <= ask_again_after;
    Asked asked = ask_to_shut_down(node, vmid, std::min(left, ask_again_after), force && last, stop);
    if (asked == Asked::paused && force && !last) asked = ask_to_shut_down(node, vmid, left, true, stop);
    if (asked == Asked::gone) return;
    if (asked == Asked::paused) {
      throw Error(ErrorCode::command, "shut down", subject_of(node, vmid), "VM is paused - cannot shutdown");
    }
    if (last) {
      throw Error(ErrorCode::timeout, "shut down", subject_of(node, vmid),
                  fmt::format("it still runs after {} s", timeout.count()));
    }
  }
}

PveCluster::Asked PveCluster::ask_to_shut_down(const std::string& node, std::uint32_t vmid, seconds timeout,
                                               bool force, const std::stop_token& stop) {
  std::vector<std::string> words{pid_path(vmid),       "qm",        "shutdown",
                                 std::to_string(vmid), "--timeout", std::to_string(timeout.count())};
  if (force) words.insert(words.end(), {"--forceStop", "1"});
  const CommandResult result =
      shell(node, stop).run(perl(scripts::shut_down, words), "", timeout + shut_down_slack, stop);
  if (result.exit_status != 0) {
    const std::string said = last_line(result.errors);
    // The flock can be waited for in vain as well, and then the guest was asked nothing.
    if (said.ends_with("powerdown failed - got timeout")) return Asked::runs_on;
    if (said.find("VM is paused") != std::string::npos) return Asked::paused;
  }
  const std::string subject = subject_of(node, vmid);
  const std::string output = checked(result, "shut down", subject);
  if (output.find("Requesting HA stop") != std::string::npos) {
    throw Error(ErrorCode::conflict, "shut down", subject,
                "high availability has it; 'qm shutdown' only asked for it to be stopped");
  }
  const std::string state = last_line(output);
  if (state == "gone" || (state == "unknown" && power(node, vmid, stop) == Power::stopped)) return Asked::gone;
  throw Error(ErrorCode::command, "shut down", subject, "it runs, though 'qm shutdown' ended without an error");
}

void PveCluster::suspend(const std::string& node, std::uint32_t vmid, const std::string& storage,
                         std::stop_token stop) {
  Shell& there = shell(node, stop);
  const std::string subject = subject_of(node, vmid);
  // It would be saved all the same, and run when it is started from that.
  const CommandResult status = there.run({"qm", "status", std::to_string(vmid)}, "", status_limit, stop);
  const std::string state = last_line(checked(status, "suspend", subject));
  if (state != "status: running") {
    throw Error(ErrorCode::command, "suspend", subject, fmt::format("it does not run ({})", state));
  }
  // What it prints is taken by a shell of its own: writing to a pipe that nobody reads any more would end it
  // halfway.
  const CommandResult result = there.run(
      perl(scripts::shut_down, {pid_path(vmid), "sh", "-c",
                                "said=$(\"$@\" 2>&1); status=$?; printf '%s\\n' \"$said\" >&2; exit $status", "sh",
                                "qm", "suspend", std::to_string(vmid), "--todisk", "1", "--statestorage", storage}),
      "", suspend_limit, {});
  const std::string ended = last_line(checked(result, "suspend", subject));
  if (ended != "gone" && !(ended == "unknown" && power(node, vmid, stop) == Power::stopped)) {
    throw Error(ErrorCode::command, "suspend", subject, "it runs, though 'qm suspend' ended without an error");
  }
}

void PveCluster::free_volume(const std::string& node, const std::string& volume, std::stop_token stop) {
  const CommandResult result = shell(node, stop).run({"pvesm", "free", volume}, "", destroy_limit, stop);
  const std::string output = checked(result, "remove volume", volume);
  // It ends with 0 whether or not it removed anything.
  if (output.find("Removed volume") != std::string::npos) return;
  throw Error(ErrorCode::command, "remove volume", volume, last_line(result.errors));
}

bool PveCluster::agent_answers(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  const CommandResult result =
      shell(node, stop).run({"qm", "guest", "cmd", std::to_string(vmid), "ping"}, "", status_limit, stop);
  if (result.exit_status == 0) return true;
  const std::string said = last_line(result.errors);
  const auto says = [&said](std::string_view words) { return said.find(words) != std::string::npos; };
  if (says("guest agent") || says("is not running") || says("qga command")) return false;
  (void)checked(result, "ask agent", subject_of(node, vmid));
  return false;
}

void PveCluster::set_ha_state(std::uint32_t vmid, const std::string& state, std::stop_token stop) {
  const std::string resource = fmt::format("vm:{}", vmid);
  const auto run = [&](const char* verb) {
    return entry_.run({"ha-manager", verb, resource, "--state", state}, "", ha_command_limit, stop);
  };
  const char* operation = "set high availability";
  CommandResult result = run("set");
  if (result.exit_status != 0 && result.errors.find("no such resource") != std::string::npos) result = run("add");
  (void)checked(result, operation, resource);
  // `ha-manager status` shows "ignored" as soon as it is configured: the manager's own file says what it knows.
  const CommandResult waited = entry_.run(
      perl(scripts::await_ha, {"/etc/pve/ha/manager_status", resource, state == "ignored" ? "absent" : "present",
                               std::to_string(ha_notice_limit.count())}),
      "", ha_notice_limit + file_limit, stop);
  const std::string said = last_line(checked(waited, operation, resource));
  if (said == "noticed") return;
  if (said != "late") throw Error(ErrorCode::format, operation, resource, "unexpected answer");
  throw Error(ErrorCode::timeout, operation, resource,
              fmt::format("high availability took no notice of '{}' within {} s; see 'ha-manager status'", state,
                          ha_notice_limit.count()),
              true);
}

void PveCluster::destroy(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  const CommandResult result =
      shell(node, stop)
          .run({"qm", "destroy", std::to_string(vmid), "--skiplock", "1", "--purge", "1"}, "", destroy_limit, stop);
  const std::string output = checked(result, "destroy", subject_of(node, vmid));
  // A disk that could not be removed is a warning, and the end a success.
  if (const std::string warning = warning_in(result.errors + "\n" + output); !warning.empty()) {
    throw Error(ErrorCode::command, "destroy", subject_of(node, vmid), warning);
  }
  if (read_config(node, vmid, stop)) {
    throw Error(ErrorCode::command, "destroy", subject_of(node, vmid), "its configuration is still there");
  }
}

}  // namespace crossover
