/// \file
/// The programs that run on a node, as text: they are passed to `perl -e`, so nothing has to be installed there
/// (every Proxmox VE node has perl). Their sources are in scripts/.
#pragma once

#include <string_view>

namespace crossover::scripts {

extern const std::string_view survey;     ///< everything a survey asks of one node
extern const std::string_view read_file;  ///< a file and its time
extern const std::string_view
    replace_file;  ///< a file replaced in one step under PVE's lock, perhaps for a while only
extern const std::string_view hold_guest;  ///< the process that holds a guest frozen or paused
extern const std::string_view shut_down;   ///< a command that is to end a process, and whether it did
extern const std::string_view await_ha;    ///< waits for high availability's manager

}  // namespace crossover::scripts
