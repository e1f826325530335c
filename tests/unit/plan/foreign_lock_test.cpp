#include "plan/foreign_lock.hpp"

#include <doctest/doctest.h>

namespace crossover {

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("each of PVE's locks is said to be what it is") {
  // Values of PVE's schema for VMs, and what `qm destroy` writes.
  for (const char* lock : {"backup", "clone", "create", "migrate", "rollback", "snapshot", "snapshot-delete",
                           "suspending", "suspended", "destroyed"}) {
    CAPTURE(lock);
    const std::string text = foreign_lock(lock, 100, "e1");
    CHECK_MESSAGE(text.starts_with("locked (" + std::string(lock) + "): "), text);
    CHECK_MESSAGE(contains(text, "e1"), text);
    CHECK_MESSAGE(!contains(text, "somebody else"), text);
    CHECK_MESSAGE(text.find_first_of("{}\n") == std::string::npos, text);
  }
}

TEST_CASE("a saved memory is not thrown away on our advice") {
  CHECK_FALSE(contains(foreign_lock("suspended", 100, "e1"), "qm unlock"));
  CHECK(contains(foreign_lock("suspended", 100, "e1"), "'qm start 100'"));
  CHECK(contains(foreign_lock("suspending", 100, "e1"), "wait until"));
  CHECK(is_state("suspended"));
  CHECK_FALSE(is_state("suspending"));
  CHECK_FALSE(is_state("backup"));
}

TEST_CASE("a lock of a value that is not known is somebody's") {
  CHECK(foreign_lock("whatever", 100, "e1") ==
        "locked (whatever): somebody else holds it; 'qm unlock 100' on e1 if nobody does any more");
}

TEST_CASE("nobody is told to start a replica beside its guest") {
  CHECK_FALSE(contains(foreign_lock_of_replica("suspended", 9100, "w1"), "qm start"));
  CHECK(contains(foreign_lock_of_replica("suspended", 9100, "w1"), "'qm unlock 9100' on w1"));
  CHECK(foreign_lock_of_replica("backup", 9100, "w1") == foreign_lock("backup", 9100, "w1"));
}

}  // namespace crossover
