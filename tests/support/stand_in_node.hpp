/// \file
/// A Proxmox VE node in a folder: the lab's stand-ins for PVE's commands, behind a Shell.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/shell.hpp"
#include "ssh/local_shell.hpp"

namespace crossover::test {

/// The node pve1, without a cluster. What its commands and the library's scripts would read and write below
/// /etc/pve, /etc/network, /sys/class/net, /var/run/qemu-server and /var/lock/qemu-server is below a folder of its own, which is removed
/// in the end.
class StandInNode final : public Shell {
 public:
  StandInNode();
  ~StandInNode() override;
  StandInNode(const StandInNode&) = delete;
  StandInNode& operator=(const StandInNode&) = delete;

  [[nodiscard]] const std::string& host() const override { return shell_.host(); }
  std::unique_ptr<Process> start(const std::vector<std::string>& argv, std::stop_token stop) override;
  CommandResult run(const std::vector<std::string>& argv, std::string_view input, std::chrono::milliseconds limit,
                    std::stop_token stop) override;

  /// A file of the node, by its path there ("/etc/pve/...").
  void write(const std::string& path, const std::string& bytes);
  /// Nothing if there is no such file.
  [[nodiscard]] std::optional<std::string> read(const std::string& path) const;
  /// A configuration.
  void put_guest(std::uint32_t vmid, const std::string& config);
  [[nodiscard]] std::optional<std::string> config(std::uint32_t vmid) const;
  /// Runs a guest that only answers; `mode` is what tests/lab/pve/fake_qemu.py knows ("silent", "stubborn", ...).
  void run_guest(std::uint32_t vmid, const std::string& mode = "");
  /// Puts a command in front of those that are there: a shell script, with the stand-ins' folder in $STAND_INS.
  void add_command(const std::string& name, const std::string& script);
  void remove_command(const std::string& name);
  /// Runs high availability's managers from now on.
  void run_ha();

 private:
  [[nodiscard]] std::vector<std::string> here(const std::vector<std::string>& argv) const;

  std::filesystem::path root_;
  LocalShell shell_{"pve1"};
  std::map<std::uint32_t, std::unique_ptr<Process>> guests_;
  std::unique_ptr<Process> ha_;
};

}  // namespace crossover::test
