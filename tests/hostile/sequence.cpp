#include "sequence.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "crossover/error.hpp"
#include "unit/stream/recorded_transfer.hpp"

namespace crossover::test {

namespace {

using agent::Json;

struct Action {
  enum class Kind {
    step,
    record,
    receive,
    write,
    applied,
    snapshot,
    release,
    end,
    cut_point,  ///< the connection ends
    cut_disk,
    look,    ///< a request that changes nothing, or that nobody may make
    happen,  ///< somebody else comes
    nested,  ///< another transaction, whole, in the middle of this one
  } kind{};
  StepKind step{};
  std::size_t disk = 0;
};

class Sequence {
 public:
  Sequence(Stage& stage, Tally& tally, Course& course, int depth)
      : stage_(stage), tally_(tally), course_(course), depth_(depth) {}

  void run() {
    const int kind = static_cast<int>(stage_.below(10));
    const int changes = kind < 5 ? 0 : kind < 8 ? 1 : static_cast<int>(2 + stage_.below(3));
    const std::uint64_t whose = stage_.below(10);
    vmid_ = whose < 6 ? mirrored : whose < 8 ? torn : whose < 9 ? unknown : recovered;
    if (depth_ > 0 && stage_.chance(0.8)) vmid_ = mirrored;
    offered_ = make_offer(stage_, vmid_, changes);
    tell("offer of VM {}: {}", vmid_, offered_.changed.empty() ? "as it is" : offered_.changed);
    point_ = std::make_unique<Connection>(stage_.service(), tally_);
    const bool wrong_half = stage_.chance(0.05);
    Json request{{"op", "begin_point"}, {"offer", std::move(offered_.json)},
                 {"half", wrong_half ? offered_.half + "disk" : offered_.half}};
    const bool begun = ask(*point_, std::move(request));
    if (begun && wrong_half && tally_.wrong.empty()) tally_.wrong = "a point began that was planned otherwise";
    defies_ = stage_.chance(0.5);
    first_apart_ = stage_.chance(0.1);
    if (!begun && !stage_.chance(0.15)) return;
    std::vector<Action> actions = valid_actions();
    is_changed_ = changes > 0;
    if (stage_.chance(0.5)) disturb(actions);
    for (const Action& action : actions) {
      if (!carry_out(action) && !defies_) {
        if (stage_.chance(0.5)) (void)ask(*point_, {{"op", "end_point"}});
        break;
      }
      if (!point_) break;
    }
  }

 private:
  template <typename... Args>
  void tell(fmt::format_string<Args...> format, Args&&... args) {
    course_.told.push_back(std::string(2 * static_cast<std::size_t>(depth_), ' ') +
                           fmt::format(format, std::forward<Args>(args)...));
  }

  bool ask(Connection& connection, Json request) {
    const Json named = request.is_object() ? request.value("op", Json()) : Json();
    const std::string operation = named.is_string() ? named.get<std::string>() : "what is no request";
    answer_ = connection.ask(std::move(request));
    if (operation != "find_all" && operation != "survey") {
      tell("  {}: {}", operation, answer_ ? "done" : connection.ended() ? "the end" : tally_.last_refusal);
    }
    return answer_.has_value();
  }

  /// What an honest run would do now, with the disks side by side.
  std::vector<Action> valid_actions() {
    using Kind = Action::Kind;
    std::vector<Action> actions;
    std::vector<StepKind> steps;
    if (offered_.plan) {
      for (const Step& step : offered_.plan->steps) {
        if (step.kind == StepKind::transfer || !is_at_replica(step.kind)) continue;
        if (steps.empty() || steps.back() != step.kind) steps.push_back(step.kind);
      }
    } else {
      steps = {StepKind::lock_replica, StepKind::check_head, StepKind::record_point, StepKind::commit,
               StepKind::write_config};
    }
    for (const StepKind step : steps) {
      if (step == StepKind::commit) add_disks(actions);
      actions.push_back({step == StepKind::record_point ? Kind::record : Kind::step, step});
    }
    if (stage_.chance(0.7)) actions.push_back({Kind::end});
    return actions;
  }

  void add_disks(std::vector<Action>& actions) {
    using Kind = Action::Kind;
    std::vector<std::vector<Action>> parts;
    const std::size_t disks = offered_.plan ? offered_.plan->disks.size() : 2;
    for (std::size_t disk = 0; disk < disks; ++disk) {
      const DiskPlan* const plan = offered_.plan ? &offered_.plan->disks[disk] : nullptr;
      const auto with = [disk](Kind kind) { return Action{kind, {}, disk}; };
      std::vector<Action> part;
      if (plan == nullptr || !plan->replica_end) {
        part = {with(Kind::receive)};
        if (plan == nullptr || !plan->applied) {
          part.push_back(with(Kind::write));
          part.push_back(with(Kind::applied));
        }
        part.push_back(with(Kind::snapshot));
        part.push_back(with(Kind::release));
      }
      std::reverse(part.begin(), part.end());
      parts.push_back(std::move(part));
    }
    for (;;) {
      std::erase_if(parts, [](const auto& part) { return part.empty(); });
      if (parts.empty()) return;
      auto& part = parts[stage_.below(parts.size())];
      actions.push_back(part.back());
      part.pop_back();
    }
  }

  void disturb(std::vector<Action>& actions) {
    using Kind = Action::Kind;
    is_changed_ = true;
    for (auto count = 1 + stage_.below(2); count > 0 && !actions.empty(); --count) {
      const std::size_t at = stage_.below(actions.size());
      const auto place = actions.begin() + static_cast<std::ptrdiff_t>(at);
      switch (stage_.below(12)) {
        case 0:
        case 1:
          actions.erase(place);
          break;
        case 2:
          actions.insert(place, actions[at]);
          break;
        case 3:
          std::swap(actions[at], actions[stage_.below(actions.size())]);
          break;
        case 4:
          actions.insert(actions.begin() + static_cast<std::ptrdiff_t>(stage_.below(actions.size())), any_action());
          break;
        case 5:
          actions.insert(place, {stage_.chance(0.5) ? Kind::cut_point : Kind::cut_disk, {}, stage_.below(2)});
          break;
        case 6:
          actions.erase(place, actions.end());
          break;
        case 7:
          actions.insert(place, {Kind::look});
          break;
        case 8:
          actions.insert(place, {Kind::happen});
          break;
        case 9:
        case 10:
          if (depth_ < 2) actions.insert(place, {Kind::nested});
          break;
        default:
          actions[at] = any_action();
      }
    }
  }

  Action any_action() {
    constexpr StepKind steps[]{StepKind::verify_content, StepKind::check_origin, StepKind::lock_replica,
                               StepKind::create_image,   StepKind::adopt,        StepKind::check_head,
                               StepKind::check_cut,      StepKind::roll_back,    StepKind::record_point,
                               StepKind::commit,         StepKind::write_config, StepKind::retire};
    const auto kind = static_cast<Action::Kind>(stage_.below(static_cast<int>(Action::Kind::end) + 1));
    return {kind, steps[stage_.below(std::size(steps))], stage_.below(3)};
  }

  /// Whether it was done.
  bool carry_out(const Action& action) {
    using Kind = Action::Kind;
    switch (action.kind) {
      case Kind::step:
        return step(action.step);
      case Kind::record:
        return record();
      case Kind::receive:
        return receive(action.disk);
      case Kind::write:
        return write(action.disk);
      case Kind::applied:
        return ask(disk(action.disk), {{"op", "disk_applied"}});
      case Kind::snapshot:
        return ask(disk(action.disk), {{"op", "disk_snapshot"}});
      case Kind::release:
        return ask(disk(action.disk), {{"op", "release_disk"}});
      case Kind::end:
        return ask(*point_, {{"op", "end_point"}});
      case Kind::cut_point:
        tell("  the point's connection is cut");
        point_.reset();
        return true;
      case Kind::cut_disk:
        tell("  disk {}'s connection is cut", action.disk);
        cut_disk(action.disk);
        return true;
      case Kind::look:
        return look();
      case Kind::happen:
        return happen();
      case Kind::nested:
        Sequence(stage_, tally_, course_, depth_ + 1).run();
        return true;
    }
    return false;
  }

  bool step(StepKind kind) {
    if (!ask(*point_, {{"op", "carry_out"}, {"step", agent::to_string(kind)}})) return false;
    if (kind == StepKind::commit) {
      ++course_.commits;
      if (is_changed_) ++course_.after_changes;
    }
    return true;
  }

  bool record() {
    Json ends = Json::array();
    const std::size_t disks = offered_.plan ? offered_.plan->disks.size() : 2;
    sizes_.clear();
    for (std::size_t i = 0; i < disks; ++i) {
      std::uint64_t size = offered_.plan ? offered_.plan->disks[i].layout.size_bytes : 65536;
      if (stage_.chance(0.1)) size = 1024 * (1 + stage_.below(100));
      sizes_.push_back(size);
      if (stage_.chance(0.03)) size += 4096;
      ends.push_back(Snapshot{2000 + stage_.below(1U << 30U), offered_.plan ? offered_.plan->snapshot : "x", size});
    }
    if (stage_.chance(0.02)) ends.erase(0);
    if (!ask(*point_, {{"op", "record_point"}, {"ends", ends}})) return false;
    transfers_ = answer_->value("transfers", std::vector<std::string>());
    return true;
  }

  /// The first disk comes over the point's connection.
  [[nodiscard]] bool is_over_points(std::size_t index) const { return index == 0 && !first_apart_; }

  Connection& disk(std::size_t index) {
    if (is_over_points(index)) return *point_;
    auto& connection = disks_[index];
    if (!connection || connection->ended()) connection = std::make_unique<Connection>(stage_.service(), tally_);
    return *connection;
  }

  ImageRef replica(std::size_t index) {
    if (offered_.plan && index < offered_.plan->disks.size()) return offered_.plan->disks[index].replica;
    const ClusterInventory& there = stage_.clusters.destination.inventory;
    const std::vector<ImageSpec> images = stage_.images().images();
    return {storage_access(there, *there.storages.rbd("copy")), images[stage_.below(images.size())]};
  }

  void cut_disk(std::size_t index) {
    if (is_over_points(index)) point_.reset();
    disks_.erase(index);
  }

  bool receive(std::size_t index) {
    if (is_over_points(index)) return ask(*point_, {{"op", "receive_first_disk"}});
    const ImageRef ref = replica(index);
    std::string transfer = index < transfers_.size() ? transfers_[index] : "";
    if (transfers_.empty()) {
      // Of a point that was cut, it stands in the record, which the client can look at.
      const auto state = stage_.images().find(ref.spec);
      const auto found = state ? readable_record(*state).replica : std::nullopt;
      if (found) transfer = found->transfer;
    }
    const bool is_other = stage_.chance(0.03);
    if (is_other) transfer = stage_.chance(0.5) ? "" : "x";
    const bool done = ask(disk(index), {{"op", "receive_disk"},
                                        {"access", ref.access},
                                        {"image", ref.spec},
                                        {"transfer", transfer}});
    if (done && is_other && tally_.wrong.empty()) tally_.wrong = "a disk is received by another's transfer";
    return done;
  }

  bool write(std::size_t index) {
    Connection& connection = disk(index);
    const bool is_planned = offered_.plan && index < offered_.plan->disks.size();
    std::uint64_t offset = is_planned ? offered_.plan->disks[index].offset : 0;
    if (stage_.chance(0.03)) offset = std::uint64_t{1} << stage_.below(64);
    const bool repair = stage_.chance(0.02);
    if (!ask(connection, {{"op", "write_disk"}, {"offset", offset}, {"repair", repair}})) return false;
    Transfer transfer{.size_bytes = index < sizes_.size() ? sizes_[index] : replica_size(index)};
    const std::uint64_t kind = stage_.below(40);
    if (kind == 0) transfer.size_bytes = stage_.limits.image_bytes + 1 + stage_.below(1U << 20U);
    if (kind == 1) transfer.size_bytes = std::uint64_t{1} << stage_.below(50);
    std::uint64_t position = std::max<std::uint64_t>(offset & 0xffffff, 0);
    for (auto count = stage_.below(4); count > 0; --count) {
      position += stage_.below(3) * 4096;
      const std::uint64_t length = 1 + stage_.below(6000);
      if (kind != 2 && position + length > transfer.size_bytes) break;
      transfer.extents.push_back({position, length, stage_.chance(0.3), {}});
      position += length;
    }
    fill(transfer, stage_.random());
    std::string frames = render_transfer(transfer);
    if (kind == 3) {
      connection.send(std::string_view(frames).substr(0, stage_.below(frames.size())));
      tell("  a transfer is cut");
      cut_disk(index);
      return true;
    }
    if (kind == 4) frames[stage_.below(frames.size())] ^= static_cast<char>(1U << stage_.below(8));
    connection.send(frames);
    if (kind == 4) {
      // What it waits for may never come.
      tell("  a transfer that is garbled");
      cut_disk(index);
      return true;
    }
    const bool done = connection.answer().has_value();
    tell("  a transfer of {} bytes: {}", transfer.size_bytes, done ? "done" : tally_.last_refusal);
    return done;
  }

  std::uint64_t replica_size(std::size_t index) {
    const auto state = stage_.images().find(replica(index).spec);
    return state ? state->layout.size_bytes : 65536;
  }

  bool look() {
    static const std::vector<std::string> operations{
        "ping", "prepare", "survey", "fsid", "available_bytes", "find_all", "find_all",
        "hash_blocks", "hash_blocks", "create", "remove", "trash", "create_snapshot", "remove_snapshot",
        "set_metadata",
        "remove_metadata",
        "head_unchanged_since", "read_diff", "read_ranges", "hold", "release", "held_state", "held_set_metadata",
        "held_remove_metadata", "held_roll_back", "held_write_diff", "held_create_snapshot", "read_config",
        "write_config", "write_firewall", "hold_config", "release_config", "hold_guest", "release_guest", "power",
        "start", "shut_down", "suspend", "free_volume", "agent_answers", "set_ha_state", "destroy", "none"};
    Connection connection(stage_.service(), tally_);
    for (auto count = 1 + stage_.below(4); count > 0; --count) {
      const std::string& operation = operations[stage_.below(operations.size())];
      const std::vector<ImageSpec> images = stage_.images().images();
      const ImageSpec image = images[stage_.below(images.size())];
      const auto state = stage_.images().find(image);
      Snapshot snapshot{1, "monday", 65536};
      if (!state->snapshots.empty()) snapshot = state->snapshots[stage_.below(state->snapshots.size())];
      const std::uint32_t vmid = stage_.chance(0.5) ? 99100 : static_cast<std::uint32_t>(outside);
      const std::string config = stage_.clusters.destination.config(vmid).value_or("");
      Json request{{"op", operation},
                   {"access", replica(0).access},
                   {"image", image},
                   {"images", std::vector{image}},
                   {"pool", stage_.chance(0.5) ? "backup" : "vault"},
                   {"layout", state->layout},
                   {"snapshot", snapshot},
                   {"from", nullptr},
                   {"to", snapshot},
                   {"offset", 0},
                   {"delay_seconds", 1},
                   {"name", "crossover-default-20261124T150000Z"},
                   {"key", "crossover.replica"},
                   {"value", "{}"},
                   {"blocks", {{"block_bytes", 4096}, {"ranges", {{{"offset", 0}, {"length_bytes", 65536}}}},
                               {"sample", nullptr}}},
                   {"ranges", Json::array()}};
      request.update(Json{{"node", "w1"},
                          {"vmid", vmid},
                          {"bytes", config},
                          {"expected", {{"bytes", config}, {"modified", nullptr}}},
                          {"versions", false},
                          {"guests", nullptr},
                          {"pause", false},
                          {"deadline_ms", 1000},
                          {"timeout_seconds", 1},
                          {"force", true},
                          {"storage", "copy"},
                          {"user", nullptr},
                          {"volume", "copy:" + image.name},
                          {"state", "started"}});
      if (stage_.chance(0.1)) spoil(stage_, request);
      (void)ask(connection, std::move(request));
      if (connection.ended()) break;
    }
    return true;
  }

  /// What is there afterwards is what must not change from then on.
  bool happen() {
    if (course_.wrong.empty()) course_.wrong = stage_.wrong(true);
    tell("  meanwhile: {}", stage_.happen());
    stage_.remember();
    return true;
  }

  Stage& stage_;
  Tally& tally_;
  Course& course_;
  int depth_;
  std::uint32_t vmid_ = 0;
  Offered offered_;
  std::unique_ptr<Connection> point_;
  std::map<std::size_t, std::unique_ptr<Connection>> disks_;
  std::vector<std::string> transfers_;
  std::vector<std::uint64_t> sizes_;
  std::optional<Json> answer_;
  bool defies_ = false;
  bool first_apart_ = false;  // which no honest client does
  bool is_changed_ = false;
};

}  // namespace

Course run_sequence(Stage& stage, Tally& tally) {
  Course course;
  stage.clusters.clock.time += std::chrono::minutes(1 + stage.below(30));
  Sequence(stage, tally, course, 0).run();
  if (course.wrong.empty()) course.wrong = stage.wrong();
  if (course.wrong.empty()) course.wrong = std::exchange(tally.wrong, "");
  return course;
}

}  // namespace crossover::test
