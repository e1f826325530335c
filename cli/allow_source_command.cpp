#include "allow_source_command.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <utility>

#include "exit_status.hpp"
#include "print.hpp"

namespace crossover::cli {

namespace {

std::string where(const std::string& file, bool shared) {
  return say("{}, {}", file, shared ? "which all nodes of the cluster share" : "of this node alone");
}

std::string render_source(const AllowedSource& source) {
  const std::string name =
      source.name.empty() ? say("(line {}, without a name)", source.line) : say("{}", source.name);
  if (!source.unreadable.empty()) {
    return say("line {}  what it allows cannot be told: {}\n", source.line, source.unreadable);
  }
  return say("{}  {}  VMIDs {}  {}  {} {}{}\n", name, fmt::format("{}", fmt::join(source.storages, ",")),
             source.vmids, source.user.empty() ? "each storage's cephx user" : "client." + source.user,
             source.key_type, source.fingerprint,
             source.restricted ? "" : "  without the option restrict: the key can forward ports");
}

}  // namespace

std::string render_allowed(const AllowSourceReport& report, SourceAction action) {
  if (report.outcome == Outcome::conflict || (report.outcome == Outcome::failed && !report.changed)) return "";
  std::string text;
  const bool remove = action == SourceAction::remove;
  const char* done = report.dry_run ? "would" : "done:";
  for (const std::string& step : report.steps) {
    text += say("source {} - {} {}\n", report.name, done, step);
  }
  if (!report.changed) {
    text += say("source {} - nothing to do: its line is in {}\n", report.name, where(report.file, report.shared));
  } else {
    text += say("source {} - {} {} {}:\n{}\n", report.name, done,
                remove ? "take this line out of" : "write this line to", where(report.file, report.shared),
                report.line);
  }
  if (report.dry_run) return text + "Dry run: nothing was changed\n";
  if (remove) text += "A 'crossover agent' that runs for it goes on until its connection ends\n";
  for (const std::string& left : report.left_to_do) text += say("left to do: {}\n", left);
  return text;
}

std::string render_sources(const AllowedSourceList& list) {
  std::string text = say("{}:\n", where(list.file, list.shared));
  for (const AllowedSource& source : list.sources) text += render_source(source);
  if (list.sources.empty()) text += "no source is let in\n";
  return text;
}

int run_allow_source(const Invocation& invocation, std::stop_token stop) {
  AllowedSources sources;
  if (invocation.source_action == SourceAction::list) {
    const AllowedSourceList list = sources.list();
    put(stdout, invocation.json ? to_json(list) + "\n" : render_sources(list));
    return exit_ok;
  }
  const AllowSourceOptions& options = invocation.allow_source;
  const AllowSourceReport report = invocation.source_action == SourceAction::remove
                                       ? sources.remove(options.name, options.dry_run, std::move(stop))
                                       : sources.allow(options, std::move(stop));
  put(stdout, invocation.json ? to_json(report) + "\n" : render_allowed(report, invocation.source_action));
  if (!report.error.empty()) print(stderr, "crossover: {}\n", report.error);
  return exit_status(report);
}

}  // namespace crossover::cli
