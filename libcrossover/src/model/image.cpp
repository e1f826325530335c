#include "crossover/image.hpp"

namespace crossover {

std::string to_string(const ImageSpec& spec) {
  return spec.rados_namespace.empty() ? spec.pool + "/" + spec.name
                                      : spec.pool + "/" + spec.rados_namespace + "/" + spec.name;
}

}  // namespace crossover
