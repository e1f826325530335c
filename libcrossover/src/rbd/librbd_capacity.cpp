#include "rbd/librbd_capacity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "crossover/error.hpp"
#include "rbd/rbd_error.hpp"
#include "rbd/rbd_json.hpp"

namespace crossover::rbd {

namespace {

struct BufferRelease {
  void operator()(char* buffer) const noexcept { rados_buffer_free(buffer); }
};

nlohmann::json ask_monitor(const Cluster& cluster, const nlohmann::json& command) {
  const std::string text = command.dump();
  const char* texts[] = {text.c_str()};
  char* output = nullptr;
  char* status = nullptr;
  std::size_t output_length = 0;
  std::size_t status_length = 0;
  const int result =
      rados_mon_command(cluster.get(), texts, 1, "", 0, &output, &output_length, &status, &status_length);
  const std::unique_ptr<char, BufferRelease> output_owner(output);
  const std::unique_ptr<char, BufferRelease> status_owner(status);
  if (result < 0) throw error_of_return(result, "ask monitor", command.value("prefix", ""));
  return parse_json({output, output_length}, "ask monitor", command.value("prefix", ""));
}

}  // namespace

std::uint64_t available_bytes(const Cluster& cluster, const std::string& pool) {
  const nlohmann::json usage = ask_monitor(cluster, {{"prefix", "df"}, {"format", "json"}});
  if (const auto bytes = available_bytes_of(usage, pool)) return *bytes;
  // Without a manager's figures per pool: raw space, by the number of copies.
  rados_cluster_stat_t stat{};
  if (const int result = rados_cluster_stat(cluster.get(), &stat); result < 0) {
    throw error_of_return(result, "read free space", pool);
  }
  if (stat.kb == 0) {
    throw Error(ErrorCode::unsupported, "read free space", pool,
                "the cluster reports no usage (no active manager)");
  }
  const nlohmann::json copies =
      ask_monitor(cluster, {{"prefix", "osd pool get"}, {"pool", pool}, {"var", "size"}, {"format", "json"}});
  return stat.kb_avail * 1024 / std::max<std::uint64_t>(1, copies.value("size", std::uint64_t{3}));
}

}  // namespace crossover::rbd
