// The compiled half of the package: what the library has, as Python has it. crossover/__init__.py shows it to the
// world.
#include "bindings.hpp"
#include "crossover/migrator.hpp"

PYBIND11_MODULE(_crossover, module) {
  using namespace crossover;
  // Signatures with types stand in the stubs; pybind11's own would show C++.
  pybind11::options docstrings;
  docstrings.disable_function_signatures();

  module.attr("__version__") = version();
  python::add_errors(module);
  python::add_options(module);
  python::add_retention(module);
  python::add_vm_config(module);
  python::add_diff_stream(module);
  python::add_reports(module);
  python::add_migrator(module);
  python::add_replicas(module);
  python::add_sources(module);
}
