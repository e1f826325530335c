// Any bytes are a configuration: reading must not fail, must lose nothing, and every change must stay readable.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "crossover/drive.hpp"
#include "crossover/error.hpp"
#include "crossover/vm_config.hpp"

namespace {

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace crossover;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const VmConfig config = parse_vm_config(bytes);
  require(config.to_bytes() == bytes);
  for (const Drive& drive : drives_of(config)) {
    Drive changed = drive;
    changed.set_volume("data:vm-1-disk-0");
    require(read_drive(to_string(changed.key()), changed.text()).volume_text() == "data:vm-1-disk-0");
    require(drive.text() == config.get(to_string(drive.key())));
    static_cast<void>(drive.is_cloudinit());
  }

  VmConfig changed = config;
  changed.set("lock", "backup");
  require(changed.get("lock") == "backup");
  require(changed.sections().size() == config.sections().size());
  require(parse_vm_config(changed.to_bytes()) == changed);
  changed.remove("lock");
  require(!changed.get("lock"));
  changed.keep_only_main();
  require(changed.sections().size() == 1);

  VmConfig same = config;
  same.replace_main_lines(config.main_lines());
  require(same == config);
  return 0;
}
