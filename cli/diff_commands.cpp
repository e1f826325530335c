#include "diff_commands.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "byte_file.hpp"
#include "crossover/diff_description.hpp"
#include "crossover/error.hpp"
#include "diff_renderer.hpp"
#include "exit_status.hpp"
#include "print.hpp"

namespace crossover::cli {

namespace {

constexpr std::size_t text_bytes = 64U << 10;

int errno_of(const Error& error) {
  if (error.error_number() != 0) return error.error_number();
  switch (error.code()) {
    case ErrorCode::usage:
    case ErrorCode::conflict:
      return EINVAL;
    case ErrorCode::not_found:
      return ENOENT;
    case ErrorCode::already_exists:
      return EEXIST;
    case ErrorCode::permission:
    case ErrorCode::authentication:
      return EACCES;
    case ErrorCode::in_use:
    case ErrorCode::locked:
      return EROFS;
    case ErrorCode::format:
      return EBADMSG;
    case ErrorCode::timeout:
      return ETIMEDOUT;
    case ErrorCode::unreachable:
      return ENOTCONN;
    case ErrorCode::unsupported:
      return EOPNOTSUPP;
    case ErrorCode::host_key:
    case ErrorCode::io:
    case ErrorCode::command:
      break;
  }
  return EIO;
}

/// The percentage on standard error, as `rbd` shows it, but only where somebody looks at it.
class Progress {
 public:
  Progress(const DiffInvocation& invocation, const char* action)
      : action_(action), is_shown_(invocation.progress && isatty(STDERR_FILENO) == 1) {}
  ~Progress() {
    if (percent_) print(stderr, "\n");
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(std::uint64_t offset, std::uint64_t size_bytes) {
    if (!is_shown_) return;
    const double part = size_bytes == 0 ? 1 : static_cast<double>(offset) / static_cast<double>(size_bytes);
    const int percent = static_cast<int>(part * 100);
    if (percent_ == percent) return;
    percent_ = percent;
    print(stderr, "\r{} image diff: {}% complete...", action_, percent);
  }

 private:
  const char* action_;
  bool is_shown_;
  std::optional<int> percent_;
};

int export_command(const DiffInvocation& invocation, const std::stop_token& stop) {
  if (invocation.whole_object) {
    print(stderr,
               "crossover: --whole-object: only the bytes that changed are sent; the object map misses changes after "
               "a rollback and around resizes\n");
  }
  OutputFile file(invocation.path, stop);
  Progress progress(invocation, "Exporting");
  export_diff(
      invocation.access, invocation.request, [&](std::span<const std::byte> bytes) { file.write(bytes); },
      [&](std::uint64_t offset, std::uint64_t size_bytes) { progress.show(offset, size_bytes); }, stop,
      invocation.ceph_options);
  file.close();
  return exit_ok;
}

int import_command(const DiffInvocation& invocation, const std::stop_token& stop) {
  InputFile file(invocation.path, stop);
  Progress progress(invocation, "Importing");
  import_diff(
      invocation.access, invocation.request.image, [&](std::span<std::byte> out) { return file.read(out); },
      [&](std::uint64_t offset, std::uint64_t size_bytes) { progress.show(offset, size_bytes); }, stop,
      invocation.ceph_options);
  return exit_ok;
}

int show_command(const DiffInvocation& invocation, const std::stop_token& stop) {
  InputFile file(invocation.path, stop);
  OutputFile out("-", stop);
  std::string text;
  const auto flush = [&] {
    out.write(std::as_bytes(std::span(text)));
    text.clear();
  };
  const auto print = [&](std::string_view piece) {
    text += piece;
    if (text.size() >= text_bytes) flush();
  };
  std::unique_ptr<DiffRenderer> renderer;
  if (invocation.json) {
    renderer = std::make_unique<DiffJsonRenderer>(print);
  } else {
    renderer = std::make_unique<DiffTextRenderer>(print);
  }
  const DiffSummary summary =
      describe_diff([&](std::span<std::byte> bytes) { return file.read(bytes); }, *renderer, stop);
  renderer->summary(summary);
  flush();
  return summary.fault ? summary.fault->error_number : exit_ok;
}

int run(const DiffInvocation& invocation, const std::stop_token& stop) {
  switch (invocation.command) {
    case DiffCommand::export_diff:
      return export_command(invocation, stop);
    case DiffCommand::import_diff:
      return import_command(invocation, stop);
    case DiffCommand::show_diff:
      return show_command(invocation, stop);
  }
  return EINVAL;
}

}  // namespace

int run_diff_command(const DiffInvocation& invocation, const std::stop_token& stop) {
  try {
    return run(invocation, stop);
  } catch (const Cancelled&) {
    print(stderr, "crossover: {} was interrupted\n", to_string(invocation.command));
    return exit_interrupted;
  } catch (const Error& error) {
    print(stderr, "crossover: {}\n", error.what());
    return errno_of(error);
  } catch (const std::exception& error) {
    print(stderr, "crossover: internal error: {}\n", error.what());
    return EIO;
  }
}

}  // namespace crossover::cli
