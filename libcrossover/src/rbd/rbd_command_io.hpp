/// \file
/// Diffs through `rbd export-diff` and `rbd import-diff`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/image_store.hpp"
#include "engine/shell.hpp"

namespace crossover::rbd {

/// Gives what a running `rbd export-diff` prints to `sink`: size, data and zeroes, not finish(). `from` and `to`
/// are the names its header must carry. What lies before `offset` is read and not given.
void read_export(Process& process, const std::optional<std::string>& from, const std::string& to,
                 std::uint64_t offset, DiffSink& sink, const std::string& subject);

/// True if a running `rbd export-diff` of the head lists nothing and the head has `size_bytes`. Stops reading at
/// the first change.
bool export_is_empty(Process& process, std::uint64_t size_bytes, const std::string& subject);

/// A sink that writes to a running `rbd import-diff`, from `offset` on, without an end snapshot: making that is a
/// step of its own. `verify_size` is asked, after the command ended well, to throw if the image has not the size it
/// was given.
std::unique_ptr<DiffSink> make_import_sink(std::unique_ptr<Process> process, std::string subject,
                                           std::uint64_t offset, std::function<void(std::uint64_t)> verify_size);

}  // namespace crossover::rbd
