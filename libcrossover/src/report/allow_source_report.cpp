#include <nlohmann/json.hpp>

#include "crossover/allowed_sources.hpp"
#include "report/json.hpp"

namespace crossover {

using nlohmann::ordered_json;

std::string to_json(const AllowedSourceList& list) {
  ordered_json value{
      {"version", 1}, {"file", list.file}, {"shared", list.shared}, {"sources", ordered_json::array()}};
  for (const AllowedSource& source : list.sources) {
    value["sources"].push_back({{"line", source.line},
                                {"name", source.name},
                                {"storages", source.storages},
                                {"vmids", source.vmids},
                                {"user", source.user},
                                {"key_type", source.key_type},
                                {"fingerprint", source.fingerprint},
                                {"restricted", source.restricted},
                                {"unreadable", source.unreadable}});
  }
  return render_json(value);
}

std::string to_json(const AllowSourceReport& report) {
  ordered_json value{{"version", 1},
                     {"name", report.name},
                     {"file", report.file},
                     {"shared", report.shared},
                     {"line", report.line},
                     {"dry_run", report.dry_run},
                     {"changed", report.changed},
                     {"steps", report.steps},
                     {"left_to_do", report.left_to_do},
                     {"outcome", to_string(report.outcome)},
                     {"error_code", nullptr},
                     {"error", report.error}};
  if (report.error_code) value["error_code"] = to_string(*report.error_code);
  return render_json(value);
}

}  // namespace crossover
