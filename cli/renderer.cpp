#include "renderer.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "crossover/byte_size.hpp"
#include "crossover/snapshot_name.hpp"
#include "print.hpp"

namespace crossover::cli {

namespace {

std::string local_time() {
  return say("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(std::time(nullptr)));
}

std::string rate(std::uint64_t bytes, std::chrono::milliseconds elapsed) {
  const auto milliseconds = std::max<std::int64_t>(elapsed.count(), 1);
  return format_bytes(bytes * 1000 / static_cast<std::uint64_t>(milliseconds)) + "/s";
}

std::string clock_time(std::chrono::milliseconds elapsed) {
  const auto seconds = elapsed.count() / 1000;
  return say("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

std::string transfer_line(const Event& event) {
  return say("VM {} - {} {}: e:{} a:[{}] {}", event.vmid, event.full ? "F" : "I", event.subject,
             clock_time(event.elapsed), rate(event.bytes, event.elapsed), format_bytes(event.bytes));
}

std::string verify_line(const Event& event) {
  return say("VM {} - V {}: e:{} a:[{}] {}", event.vmid, event.subject, clock_time(event.elapsed),
             rate(event.bytes, event.elapsed), format_bytes(event.bytes));
}

}  // namespace

Renderer::Renderer(std::FILE* out, const MirrorOptions& options, bool debug)
    : out_(out), options_(options), debug_(debug), terminal_(isatty(fileno(out)) == 1) {}

void Renderer::line(const std::string& text) {
  if (progress_shown_) print(out_, "\r\033[K");
  progress_shown_ = false;
  print(out_, "{}\n", text);
  std::fflush(out_);
}

void Renderer::on_event(const Event& event) {
  const std::uint32_t vmid = event.vmid;
  switch (event.kind) {
    case EventKind::run_started:
      line(options_.online ? "ACTION: Onlinemirror" : "ACTION: Mirror");
      return line(say("Start mirror {}", local_time()));
    case EventKind::guest_started:
      return line(say("VM {} - Starting mirror for {}", vmid, event.subject));
    case EventKind::target_checked:
      return line(say("VM {} - Checking for VM {} on destination cluster {} /etc/pve/nodes/*/qemu-server",
                      vmid, event.target_vmid, options_.destination));
    case EventKind::source_locked:
      return line(say("VM {} - locked {} [rc:0] on source", vmid, vmid));
    case EventKind::replica_locked:
      return line(say("VM {} - locked {} [rc:0] on destination", vmid, event.target_vmid));
    case EventKind::source_unlocked:
      return line(say("VM {} - unlocked source VM {} [rc:0]", vmid, vmid));
    case EventKind::replica_unlocked:
      return line(say("VM {} - Unlocking destination VM {}", event.target_vmid, event.target_vmid));
    case EventKind::frozen:
      return line(say("VM {} - file systems frozen", vmid));
    case EventKind::thawed:
      return line(say("VM {} - file systems thawed, frozen for {} ms", vmid, event.elapsed.count()));
    case EventKind::not_frozen:
      return line(say("VM {} - file systems not frozen: {}", vmid, event.text));
    case EventKind::paused:
      return line(event.subject.empty() ? say("VM {} - paused", vmid)
                                        : say("VM {} - does not run ({}), left so", vmid, event.subject));
    case EventKind::resumed:
      return line(say("VM {} - resumed, paused for {} ms", vmid, event.elapsed.count()));
    case EventKind::snapshot_created:
      return line(say("VM {} - Creating snapshot {}", vmid, event.subject));
    case EventKind::transfer_started:
      return;
    case EventKind::point_resumed:
      return line(
          say("VM {} - Completing the recovery point {} that an earlier run began", vmid, event.subject));
    case EventKind::fast_diff_refused:
      return line(say("VM {} - I {}: no fast diff: {}", vmid, event.subject, event.text));
    case EventKind::transfer_resumed:
      return line(say("VM {} - {} {}: goes on at {} of the image", vmid, event.full ? "F" : "I",
                      event.subject, format_bytes(event.bytes)));
    case EventKind::transfer_progress:
      if (!terminal_) return;
      print(out_, "\r\033[K{}", transfer_line(event));
      std::fflush(out_);
      progress_shown_ = true;
      return;
    case EventKind::transfer_finished:
      line(transfer_line(event));
      return line(say("VM {} - Disk Summary: Took {} Seconds to transfer {} in {} run", vmid,
                      event.elapsed.count() / 1000, format_bytes(event.bytes),
                      event.full ? "a full" : "an incremental"));
    case EventKind::retrying:
      return line(say("{}: trying again in {} s",
                      event.vmid == 0 ? event.text : say("VM {} - {}", vmid, event.text),
                      event.elapsed.count() / 1000));
    case EventKind::config_written:
      return line(say("VM {} - Transmitting config to destination {} VMID {}", vmid, event.host,
                      event.target_vmid));
    case EventKind::left_out:
      return line(say("VM {} - Not replicated: {}: {}", vmid, event.subject, event.text));
    case EventKind::former_image:
      return line(say("VM {} - {}: {}", vmid, event.subject, event.text));
    case EventKind::housekeeping:
      return line(say("VM {} - Housekeeping: {} {}, keeping Snapshots for {}", vmid, event.host,
                      event.subject, event.text));
    case EventKind::snapshot_removed:
      return line(say("VM {} - Removing Snapshot {} {} ({}s) [rc:0]", vmid, event.host, event.subject,
                      event.elapsed.count() / 1000));
    case EventKind::verify_started:
      return line(say("VM {} - Comparing {} with {}", vmid, event.subject, event.text));
    case EventKind::verify_progress:
      if (!terminal_) return;
      print(out_, "\r\033[K{}", verify_line(event));
      std::fflush(out_);
      progress_shown_ = true;
      return;
    case EventKind::verify_finished:
      return line(say("{}: {}", verify_line(event), event.text));
    case EventKind::migration:
    case EventKind::step:
      return line(say("VM {} - {}", vmid, event.text));
    case EventKind::guest_finished:
      if (event.text != "ok") {
        std::fflush(out_);
        print(stderr, "crossover: {}\n",
                   event.text.starts_with("VM ") ? event.text : say("VM {}: {}", vmid, event.text));
      }
      return;
    case EventKind::run_finished:
      return line(say("Finished mirror {}", local_time()));
    case EventKind::warning:
      std::fflush(out_);
      return print(stderr, "crossover: warning: {}{}\n", vmid == 0 ? "" : say("VM {}: ", vmid),
                        event.text);
    case EventKind::debug:
      if (debug_) line(say("VM {} - debug: {}", vmid, event.text));
      return;
  }
}

void Renderer::summary(const MirrorReport& report) {
  const MirrorTotals& totals = report.totals;
  std::size_t disks = 0;
  for (const GuestReport& guest : report.guests) {
    disks += static_cast<std::size_t>(
        std::count_if(guest.disks.begin(), guest.disks.end(), [](const DiskReport& d) { return d.transferred; }));
  }
  const auto seconds = report.duration.count() / 1000;
  line(say(
      "Job Summary: Bytes transferred {} for {} Disks on {} VMs in {:02} hours {:02} minutes {:02} seconds",
      format_bytes(totals.full_bytes + totals.incremental_bytes), disks, report.guests.size(), seconds / 3600,
      seconds / 60 % 60, seconds % 60));
  line(say("VMs OK/failed.............: {}/{}", totals.guests_ok, totals.guests_failed));
  if (totals.guests_incomplete > 0) line(say("VMs incomplete............: {}", totals.guests_incomplete));
  line(say("VM Freeze OK/failed.......: {}/{}", totals.freeze_ok, totals.freeze_failed));
  line(say("RBD Snapshot OK/failed....: {}/{}", totals.snapshot_ok, totals.snapshot_failed));
  line(say("RBD export-full OK/failed.: {}/{}", totals.full_ok, totals.full_failed));
  line(say("RBD export-diff OK/failed.: {}/{}", totals.incremental_ok, totals.incremental_failed));
  line(say("Full xmitted..............: {}", format_bytes(totals.full_bytes)));
  line(say("Differential Bytes .......: {}", format_bytes(totals.incremental_bytes)));
  for (const GuestReport& guest : report.guests) {
    if (guest.migration) migration_summary(guest, *guest.migration);
  }
}

void Renderer::migration_summary(const GuestReport& guest, const MigrationReport& migration) {
  for (const std::string& finding : migration.findings) {
    line(say("VM {} - stands in its way: {}", guest.vmid, finding));
  }
  for (const std::string& what : migration.left_to_do)
    line(say("VM {} - left to do: {}", guest.vmid, what));
  if (migration.outcome != MigrationOutcome::done) {
    return line(say("VM {} - not migrated: {}", guest.vmid,
                    migration.outcome == MigrationOutcome::not_begun ? "this run did not switch it over"
                    : migration.outcome == MigrationOutcome::undone  ? "it is here again, as it was"
                                                                     : "see what is left to do"));
  }
  line(say("VM {} - migrated to VM {} on {}: {} in {} rounds before, {} while it was down", guest.vmid,
           guest.target_vmid, guest.target_node, format_bytes(migration.precopy_bytes), migration.rounds,
           format_bytes(migration.switch_bytes)));
  if (migration.suspended) {
    const std::string memory = migration.state_bytes == 0
                                   ? "its memory was sent by an earlier run"
                                   : say("{} of its memory were sent", format_bytes(migration.state_bytes));
    line(say("VM {} - it went on there where it was suspended here: {}", guest.vmid, memory));
  }
  // One that was gone on with went down in an earlier run.
  if (migration.transfer.count() == 0) return;
  if (!migration.was_running) {
    return line(say("VM {} - it was off here: transfer {} ms, start {} ms", guest.vmid, migration.transfer.count(),
                    migration.start.count()));
  }
  line(say("VM {} - down for {} ms: shutdown {} ms, transfer {} ms, start {} ms", guest.vmid,
           migration.downtime().count(), migration.shutdown.count(), migration.transfer.count(),
           migration.start.count()));
}

void Renderer::summary(const VerifyReport& report) {
  constexpr std::size_t max_ranges = 50;
  std::size_t equal = 0;
  for (const VerifiedGuest& guest : report.guests) {
    if (guest.outcome == VerifyOutcome::equal) ++equal;
    for (const VerifiedDisk& disk : guest.disks) {
      if (disk.source_size_bytes != disk.replica_size_bytes) {
        line(say("VM {} - {} differs: {} bytes on the source, {} in {}", guest.vmid, disk.key,
                 disk.source_size_bytes, disk.replica_size_bytes, disk.replica_image));
      }
      for (std::size_t i = 0; i < std::min(max_ranges, disk.differing.size()); ++i) {
        line(say("VM {} - {} differs: {} bytes at {}", guest.vmid, disk.key, disk.differing[i].length_bytes,
                 disk.differing[i].offset));
      }
      if (disk.differing.size() > max_ranges) {
        line(say("VM {} - {} differs: {} more ranges; --json lists all", guest.vmid, disk.key,
                 disk.differing.size() - max_ranges));
      }
    }
    if (guest.repair) {
      for (const std::string& step : guest.outcome == VerifyOutcome::differs && options_.dry_run
                                         ? guest.repair->steps
                                         : std::vector<std::string>{}) {
        line(say("VM {} - would {}", guest.vmid, step));
      }
    }
    if (guest.outcome == VerifyOutcome::repaired) {
      line(say("VM {} - {} has what differs right; {} is not used again", guest.vmid,
               guest.repair->recovery_point, guest.point));
    }
  }
  const std::string share =
      report.sample.empty() ? "" : say(" (a sample of {}, with the seed {})", report.sample, report.seed);
  line(say("Compared {} VMs{}: {} equal", report.guests.size(), share, equal));
}

std::string render_problem(const VerifiedGuest& guest) {
  const auto about = [&guest](const std::string& text) {
    return text.starts_with("VM ") ? text : say("VM {}: {}", guest.vmid, text);
  };
  switch (guest.outcome) {
    case VerifyOutcome::equal:
      return "";
    case VerifyOutcome::differs:
      return say("VM {}: the recovery point {} differs from the source{}", guest.vmid, guest.point,
                 guest.error.empty() ? "" : "; it was not repaired: " + guest.error);
    case VerifyOutcome::repaired:
      return say("VM {}: the recovery point {} differed from the source; {} has it right", guest.vmid,
                 guest.point, guest.repair->recovery_point);
    case VerifyOutcome::conflict:
    case VerifyOutcome::failed:
      return about(guest.error);
  }
  return "";
}

std::string render_plan(const MirrorReport& report) {
  std::string text;
  for (const GuestReport& guest : report.guests) {
    text +=
        say("VM {} - {} to VM {} on {}\n", guest.vmid, guest.name, guest.target_vmid, guest.target_node);
    for (const LeftOut& left_out : guest.left_out) {
      text += say("VM {} - Not replicated: {}: {}\n", guest.vmid, left_out.key, left_out.reason);
    }
    for (const FormerImage& former : guest.former_images) {
      text += say("VM {} - {}: {}\n", guest.vmid, former.image, describe(former));
    }
    for (const std::string& step : guest.steps) text += say("VM {} - would {}\n", guest.vmid, step);
  }
  for (const LeftOutContainer& container : report.containers) {
    text += say("VM {} - Not replicated: container on {}: {}\n", container.vmid, container.node, container.reason);
  }
  return text + "Dry run: nothing was changed\n";
}

std::string render_cleanup(const CleanupReport& report) {
  if (report.outcome != Outcome::ok && report.outcome != Outcome::planned) return "";
  std::string text;
  for (const std::string& image : report.images) {
    text += say("VM {} - {} {} with its snapshots\n", report.vmid,
                report.dry_run ? "would remove" : "removed", image);
  }
  for (const std::string& image : report.kept) {
    text += say("VM {} - {} {}, which was not migrated\n", report.vmid,
                report.dry_run ? "would leave" : "left", image);
  }
  return text + (report.dry_run ? "Dry run: nothing was changed\n"
                                : say("VM {} is gone here; it is VM {} on the other cluster\n", report.vmid,
                                      report.target_vmid));
}

std::string render_check(const CheckReport& report) {
  std::string text;
  for (const CheckItem& item : report.items) {
    const char* result = item.result == CheckItem::Result::ok        ? "ok     "
                         : item.result == CheckItem::Result::warning ? "warning"
                                                                     : "FAILED ";
    // What stands in a guest's way names the guest itself.
    const bool named = item.result == CheckItem::Result::failed && item.text.starts_with(item.subject);
    const std::string subject = named ? "" : item.subject + ": ";
    text += say("{}  {}{}\n", result, subject, item.text);
  }
  return text;
}

namespace {

std::string utc(std::chrono::sys_seconds time) {
  return say("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

/// In two units, as far as that tells something: "3d 4h", "12m 5s".
std::string age_text(std::chrono::milliseconds age) {
  if (age.count() < 0) return "in the future";
  const auto total = age.count() / 1000;
  if (total >= 86400) return say("{}d {}h", total / 86400, total / 3600 % 24);
  if (total >= 3600) return say("{}h {}m", total / 3600, total / 60 % 60);
  return say("{}m {}s", total / 60, total % 60);
}

}  // namespace

std::string render_points(const ReplicaReport& report) {
  std::string text = say("VM {} - {} on {}: replica of VM {} in the cluster {}, {}\n", report.vmid,
                         report.name, report.node, report.source_vmid, report.source_fsid, describe_job(report.job));
  const auto add = [&](const std::string& what) { text += say("VM {} - {}\n", report.vmid, what); };
  if (report.promoted) {
    add(report.promoted->done
            ? say("promoted: recovered at {}, on {}", report.promoted->point, utc(report.promoted->time))
            : say("promoted, but its recovery at {}, begun on {}, was not finished: run it again",
                  report.promoted->point, utc(report.promoted->time)));
  } else if (report.unfinished) {
    add(report.applying.empty()
            ? "its head is between two points: a transfer was taken back"
            : say("its head is between two points: {} is being sent, or was cut", report.applying));
  }
  if (report.running) add("it is running");
  if (!report.lock.empty()) add(say("it is locked ({})", report.lock));
  for (const RecoveryPoint& point : report.points) {
    std::uint64_t bytes = 0;
    for (const PointDisk& disk : point.disks) bytes += disk.size_bytes;
    const std::string state = !point.complete ? "incomplete: " + point.incomplete
                              : point.bad     ? "bad: it was found to differ from the source"
                                              : "complete";
    text += say("{}  {}  {:>9}  {} {} of {}  {}\n", point.name, utc(point.time), age_text(point.age),
                point.disks.size(), point.disks.size() == 1 ? "disk" : "disks", format_bytes(bytes), state);
  }
  if (report.points.empty()) add("there is no recovery point");
  for (const FormerImage& former : report.former_images) {
    add(say("{}: {}", former.image, describe(former)));
  }
  return text;
}

std::string render_recovery(const RecoverReport& report) {
  if (report.outcome == Outcome::planned) {
    std::string text;
    for (const std::string& step : report.steps) text += say("VM {} - would {}\n", report.vmid, step);
    return text + "Dry run: nothing was changed\n";
  }
  if (report.outcome != Outcome::ok) return "";
  return say("VM {} - {} is at {}{}{}\n", report.vmid, report.name, report.point,
             report.was_recovered ? ": it was recovered before, and its disks were not touched" : "",
             report.started ? "; it is running" : "");
}

std::string render_pruned(const PruneReport& report) {
  std::string text;
  std::size_t removed = 0;
  for (const PrunedReplica& replica : report.replicas) {
    if (!replica.untouched.empty()) {
      text += say("VM {} - left alone: {}\n", replica.vmid, replica.untouched);
    }
    if (report.dry_run) {
      for (const std::string& name : replica.removed) {
        text += say("VM {} - would remove {}\n", replica.vmid, name);
      }
    }
    for (const std::string& image : replica.trashed) {
      text += report.dry_run ? say("VM {} - would move {} to the trash\n", replica.vmid, image)
                             : say("VM {} - moved {} to the trash; 'rbd trash restore' brings it back\n",
                                   replica.vmid, image);
    }
    for (const FormerImage& former : replica.former_images) {
      text += say("VM {} - {}: {}\n", replica.vmid, former.image, describe(former));
    }
    removed += replica.removed.size();
  }
  if (report.dry_run) return text + "Dry run: nothing was changed\n";
  return text + say("Removed {} snapshots of {} replicas\n", removed, report.replicas.size());
}

}  // namespace crossover::cli
