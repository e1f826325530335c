/// \file
/// What show-diff prints, for people and as JSON.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "crossover/diff_description.hpp"

namespace crossover::cli {

/// Prints a stream as it is read: a stream may have more extents than fit into memory.
class DiffRenderer : public DiffListener {
 public:
  /// Takes the next piece of the text.
  using Print = std::function<void(std::string_view)>;

  /// The end of the text.
  virtual void summary(const DiffSummary& summary) = 0;
};

class DiffTextRenderer final : public DiffRenderer {
 public:
  explicit DiffTextRenderer(Print print) : print_(std::move(print)) {}

  void header(DiffFormat format, const DiffHeader& header) override;
  void extent(const DiffExtent& extent) override;
  void summary(const DiffSummary& summary) override;

 private:
  Print print_;
};

/// One object: "header" (null if there is no whole one), "extents" (with their "offset", "length" and "type",
/// "data" or "zero"), "totals" and "fault" (null, or its "byte" and "text").
class DiffJsonRenderer final : public DiffRenderer {
 public:
  explicit DiffJsonRenderer(Print print) : print_(std::move(print)) {}

  void header(DiffFormat format, const DiffHeader& header) override;
  void extent(const DiffExtent& extent) override;
  void summary(const DiffSummary& summary) override;

 private:
  Print print_;
  bool has_header_ = false;
  bool has_extents_ = false;
};

}  // namespace crossover::cli
