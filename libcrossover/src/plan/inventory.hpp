/// \file
/// What a survey found: everything plans are made from.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "crossover/image.hpp"
#include "crossover/restriction.hpp"
#include "crossover/storage_config.hpp"
#include "crossover/vm_config.hpp"
#include "plan/firewall_names.hpp"

namespace crossover {

/// Whether a guest's QEMU runs. A paused guest counts as running: its disks are open.
enum class Power { stopped, running, unknown };

/// One node of a cluster.
struct NodeState {
  std::string name;
  std::string address;
  bool online = false;      ///< as the cluster sees it
  std::string unreachable;  ///< why we could not ask it; empty: we could
  std::string pve_version;  ///< as `pveversion` prints it; empty if unknown
  std::string ceph_version;
  std::string qemu_version;       ///< "10.1.2"; empty if unknown
  std::string processor;          ///< the model of its first processor; empty if unknown
  std::set<std::string> bridges;  ///< network bridges a guest's NIC can be plugged into
  std::string known_hosts;        ///< its host keys as PVE keeps them; empty: none kept
};

/// One VM of a cluster.
struct GuestState {
  std::uint32_t vmid = 0;
  std::string node;
  std::string config;                   ///< the configuration file's bytes
  std::optional<std::string> firewall;  ///< its firewall file's bytes
  Power power = Power::unknown;
  std::string ha_state;   ///< of its high availability resource, as resources.cfg has it; empty: it is none
  std::string ha_status;  ///< what high availability's manager is at with it: "started", "error"...; empty: nothing
};

/// A cephx user and where its key is.
struct CephUser {
  std::string name;     ///< without "client."
  std::string keyring;  ///< path

  bool operator==(const CephUser&) const = default;
};

/// One cluster's hypervisor side.
struct ClusterInventory {
  std::string entry_node;  ///< the node we came in by, by its own name
  std::string name;        ///< the cluster's name; empty: a node of its own
  bool writable = false;   ///< /etc/pve can be written: the cluster has quorum
  std::map<std::string, NodeState> nodes;
  StorageConfig storages;
  std::set<std::string> ceph_files;  ///< names in /etc/pve/priv/ceph: which storages have keyring and configuration
  std::set<std::string>
      snippets;  ///< volume ids of hook scripts and cloud-init snippets that exist on the entry node
  std::set<std::string> cpu_models;                 ///< custom ones: names without "custom-"
  std::map<std::string, std::set<std::string>>
      device_mappings;     ///< "pci/NAME", "usb/NAME" or "directory/NAME" -> nodes that have the device
  FirewallNames firewall;  ///< what cluster.fw defines
  std::string ha_disarmed;  ///< how high availability is disarmed: "freeze" or "ignore"; empty: it is not
  std::map<std::uint32_t, std::string> containers;  ///< VMID -> node
  std::map<std::uint32_t, GuestState> guests;
  std::optional<Restriction> restriction;  ///< what the cluster's agent is limited to; nothing: not at all
  std::optional<CephUser> ceph_user;  ///< who is to use the Ceph of the cluster's own nodes; nothing: as configured
};

/// An image with the access that leads to its cluster.
struct ImageRef {
  CephAccess access;
  ImageSpec spec;

  auto operator<=>(const ImageRef&) const = default;
};

/// An image that was looked at; nothing: it does not exist.
using ImageStates = std::map<ImageRef, std::optional<ImageState>>;

/// The image; null if it does not exist or was not looked at.
const ImageState* find_image(const ImageStates& images, const ImageRef& ref);

}  // namespace crossover
