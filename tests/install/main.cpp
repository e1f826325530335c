// Uses a little of the installed library, from both of its parts.
#include <iostream>

#include "crossover/allowed_sources.hpp"
#include "crossover/error.hpp"
#include "crossover/migrator.hpp"
#include "crossover/replicas.hpp"
#include "crossover/sources.hpp"
#include "crossover/vm_config.hpp"

int main() {
  if (crossover::parse_vm_config("name: web\n").name() != "web") return 1;
  try {
    crossover::Migrator migrator(crossover::MirrorOptions{});
    return 2;
  } catch (const crossover::Error& error) {
    if (error.code() != crossover::ErrorCode::usage) return 3;
  }
  std::cout << "crossover " << crossover::version() << "\n";
  return 0;
}
