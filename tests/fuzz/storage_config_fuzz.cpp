// Any bytes can stand in storage.cfg; what comes out must be usable.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "crossover/storage_config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace crossover;
  const StorageConfig config = parse_storage_config({reinterpret_cast<const char*>(data), size});
  if (config.find("local") == nullptr) {
    std::abort();
  }
  for (const RbdStorage& storage : config.rbd_storages()) {
    const CephAccess access = ceph_access(storage, true, true);
    if (pvesm_path(storage, "vm-100-disk-0", access, "8f1b9d1e-0c6c-4c2c-9a3b-3d5b8f7a1234").empty()) {
      std::abort();
    }
  }
  return 0;
}
