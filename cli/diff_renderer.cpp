#include "diff_renderer.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "crossover/printable.hpp"

namespace crossover::cli {

namespace {

using nlohmann::ordered_json;

/// Names are bytes that somebody else chose.
std::string dump(const ordered_json& value) {
  return value.dump(-1, ' ', true, ordered_json::error_handler_t::replace);
}

std::string quoted(const std::string& name) {
  return "'" + printable(name) + "'";
}

ordered_json name_or_null(const std::optional<std::string>& name) {
  return name ? ordered_json(*name) : ordered_json(nullptr);
}

}  // namespace

void DiffTextRenderer::header(DiffFormat format, const DiffHeader& header) {
  print_(fmt::format("format  rbd diff v{}\n", format == DiffFormat::v1 ? 1 : 2));
  print_(
      fmt::format("from    {}\n", header.from_snapshot ? quoted(*header.from_snapshot) : "nothing: a full diff"));
  print_(fmt::format("to      {}{}\n", header.end_snapshot ? quoted(*header.end_snapshot) : "the head",
                     header.end_protected.value_or(false) ? ", protected" : ""));
  print_(fmt::format("size    {}\n\n", header.size_bytes));
  print_(fmt::format("{:>16} {:>16}  type\n", "offset", "length"));
}

void DiffTextRenderer::extent(const DiffExtent& extent) {
  print_(fmt::format("{:>16} {:>16}  {}\n", extent.offset, extent.length_bytes, extent.is_zero ? "zero" : "data"));
}

void DiffTextRenderer::summary(const DiffSummary& summary) {
  print_(fmt::format("\ndata    {} bytes in {} extents\n", summary.data_bytes, summary.data_extents));
  print_(fmt::format("zero    {} bytes in {} extents\n", summary.zero_bytes, summary.zero_extents));
  print_(fmt::format("stream  {} bytes\n", summary.stream_bytes));
  if (summary.fault) print_(fmt::format("WRONG   {}\n", printable(summary.fault->text)));
}

void DiffJsonRenderer::header(DiffFormat format, const DiffHeader& header) {
  ordered_json value{{"format", format == DiffFormat::v1 ? 1 : 2},
                     {"from_snapshot", name_or_null(header.from_snapshot)},
                     {"end_snapshot", name_or_null(header.end_snapshot)},
                     {"size", header.size_bytes}};
  if (header.end_protected) value["end_protected"] = *header.end_protected;
  print_(R"({"header":)" + dump(value) + R"(,"extents":[)");
  has_header_ = true;
}

void DiffJsonRenderer::extent(const DiffExtent& extent) {
  print_(fmt::format(R"({}{{"offset":{},"length":{},"type":"{}"}})", has_extents_ ? "," : "", extent.offset,
                     extent.length_bytes, extent.is_zero ? "zero" : "data"));
  has_extents_ = true;
}

void DiffJsonRenderer::summary(const DiffSummary& summary) {
  if (!has_header_) print_(R"({"header":null,"extents":[)");
  const ordered_json totals{{"data_extents", summary.data_extents},
                            {"data_bytes", summary.data_bytes},
                            {"zero_extents", summary.zero_extents},
                            {"zero_bytes", summary.zero_bytes},
                            {"stream_bytes", summary.stream_bytes}};
  ordered_json fault;
  if (summary.fault) fault = {{"byte", summary.fault->byte}, {"text", summary.fault->text}};
  print_(fmt::format(R"(],"totals":{},"fault":{}}})", dump(totals), dump(fault)) + "\n");
}

}  // namespace crossover::cli
