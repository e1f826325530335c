// Our streams into the stock `rbd`, its streams into ours, and images only Ceph has: clones, namespaces, data
// pools.
#include <doctest/doctest.h>
