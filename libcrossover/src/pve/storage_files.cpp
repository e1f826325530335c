#include "pve/storage_files.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "crossover/error.hpp"

namespace crossover {

ClusterInventory read_storage_files() {
  constexpr const char* path = "/etc/pve/storage.cfg";
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorCode::io, "read", path, "it cannot be opened");
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) throw Error(ErrorCode::io, "read", path, "it cannot be read");
  ClusterInventory cluster;
  cluster.storages = parse_storage_config(bytes);
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/etc/pve/priv/ceph", none)) {
    cluster.ceph_files.insert(entry.path().filename().string());
  }
  return cluster;
}

}  // namespace crossover
