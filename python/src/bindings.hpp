/// \file
/// What each file adds to the module.
#pragma once

#include <pybind11/pybind11.h>

namespace crossover::python {

void add_errors(pybind11::module_& module);
void add_options(pybind11::module_& module);
void add_retention(pybind11::module_& module);
void add_vm_config(pybind11::module_& module);
void add_diff_stream(pybind11::module_& module);
void add_reports(pybind11::module_& module);
void add_migrator(pybind11::module_& module);
void add_replicas(pybind11::module_& module);
void add_sources(pybind11::module_& module);

}  // namespace crossover::python
