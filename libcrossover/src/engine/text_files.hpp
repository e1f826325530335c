/// \file
/// The port to small files of this host that others write, too. Implementation: pve/node_files; the tests have one
/// in memory.
#pragma once

#include <optional>
#include <string>

namespace crossover {

/// Files, each read and replaced as a whole. Every call throws Error{io} or Error{permission}.
class TextFiles {
 public:
  virtual ~TextFiles() = default;

  /// The path of the file that a path leads to, through links; it need not be there.
  virtual std::string resolve(const std::string& path) = 0;

  /// A file's bytes; nothing if it is not there. Links are followed.
  virtual std::optional<std::string> read(const std::string& path) = 0;

  /// Puts `wanted` in the place of the file that the path leads to, in one step that a power failure does not cut,
  /// if that still is `expected` (nothing: not there), looked at right before; returns whether it was. Links stay,
  /// and so do mode and owner; a new file is root's alone.
  virtual bool replace(const std::string& path, const std::optional<std::string>& expected,
                       const std::string& wanted) = 0;

  /// Removes a file; one that is not there is no error.
  virtual void remove(const std::string& path) = 0;
};

}  // namespace crossover
