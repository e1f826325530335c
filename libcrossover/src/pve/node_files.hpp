/// \file
/// Small files of this node, /etc/pve included.
#pragma once

#include "engine/text_files.hpp"

namespace crossover {

/// TextFiles of this host. A file is replaced by a new one beside it, written, flushed and renamed: /etc/pve takes
/// that for all nodes in one step, too, and has modes and owners of its own, which are left alone. Between the last
/// look and the rename somebody can come for some microseconds; a caller that looks afterwards knows whether its
/// own change was lost.
class NodeFiles final : public TextFiles {
 public:
  std::string resolve(const std::string& path) override;
  std::optional<std::string> read(const std::string& path) override;
  bool replace(const std::string& path, const std::optional<std::string>& expected,
               const std::string& wanted) override;
  void remove(const std::string& path) override;
};

}  // namespace crossover
