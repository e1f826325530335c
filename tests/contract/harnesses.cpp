#include <cstdlib>

#include "contract/agent_harness.hpp"
#include "contract/ceph_harness.hpp"
#include "contract/memory_harness.hpp"
#include "contract/store_harness.hpp"

namespace crossover::test {

const std::vector<std::unique_ptr<StoreHarness>>& harnesses() {
  static const std::vector<std::unique_ptr<StoreHarness>> all = [] {
    std::vector<std::unique_ptr<StoreHarness>> made;
    made.push_back(make_memory_harness());
    made.push_back(make_agent_memory_harness());
    if (LabCluster* cluster = lab_cluster()) {
      made.push_back(make_librbd_harness(*cluster));
      made.push_back(make_rbd_command_harness(*cluster));
      if (const char* folder = std::getenv("CROSSOVER_TEST_COMMAND")) {
        made.push_back(make_agent_process_harness(*cluster, folder));
      }
    }
    return made;
  }();
  return all;
}

}  // namespace crossover::test
