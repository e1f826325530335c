#include "support/stand_in_node.hpp"

#include <fmt/format.h>
#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp() is POSIX

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace crossover::test {

namespace {

const std::filesystem::path stand_ins = std::filesystem::path(CROSSOVER_SOURCE_DIR) / "tests/lab/pve";
constexpr std::string_view run_folder = "/var/run/qemu-server";

/// Unix sockets have short names: not below the build's folder.
std::filesystem::path make_folder() {
  std::string name = "/tmp/crossover-node-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder can be made");
  return name;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

}  // namespace

StandInNode::StandInNode() : root_(make_folder()) {
  write("/etc/crossover-lab/node.json", R"({"node": "pve1", "cluster": "lab", "address": "192.0.2.1"})");
  write("/etc/pve/.members", "{\n\"nodename\": \"pve1\",\n\"version\": 0\n}\n");
  for (const char* folder : {"/etc/pve/nodes/pve1/qemu-server", "/etc/pve/nodes/pve1/lxc", "/etc/pve/ha",
                             "/var/run/qemu-server", "/var/lock/qemu-server", "/bin"}) {
    std::filesystem::create_directories(root_.string() + folder);
  }
  std::filesystem::create_symlink("nodes/pve1", root_ / "etc/pve/local");
}

StandInNode::~StandInNode() {
  ha_.reset();
  guests_.clear();
  std::error_code none;
  std::filesystem::remove_all(root_, none);
}

std::vector<std::string> StandInNode::here(const std::vector<std::string>& argv) const {
  const char* path = std::getenv("PATH");
  std::vector<std::string> words{"env", "PVE_ROOT=" + root_.string(), "PYTHONDONTWRITEBYTECODE=1",
                                 "STAND_INS=" + (stand_ins / "bin").string(),
                                 fmt::format("PATH={}/bin:{}/bin:{}", root_.string(), stand_ins.string(),
                                             path == nullptr ? "/usr/bin:/bin" : path)};
  words.insert(words.end(), argv.begin(), argv.end());
  if (argv.front() != "perl" && argv.front() != "rm") return words;
  for (auto word = words.end() - static_cast<std::ptrdiff_t>(argv.size()); word != words.end(); ++word) {
    for (const char* folder : {"/etc/pve", "/etc/network", "/sys/class/net", "/var/run/qemu-server",
                               "/var/lock/qemu-server"}) {
      replace_all(*word, folder, root_.string() + folder);
    }
  }
  return words;
}

std::unique_ptr<Process> StandInNode::start(const std::vector<std::string>& argv, std::stop_token stop) {
  return shell_.start(here(argv), std::move(stop));
}

CommandResult StandInNode::run(const std::vector<std::string>& argv, std::string_view input,
                               std::chrono::milliseconds limit, std::stop_token stop) {
  return shell_.run(here(argv), input, limit, std::move(stop));
}

void StandInNode::write(const std::string& path, const std::string& bytes) {
  const std::filesystem::path file = root_.string() + path;
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << bytes;
}

std::optional<std::string> StandInNode::read(const std::string& path) const {
  std::ifstream file(root_.string() + path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string{std::istreambuf_iterator<char>(file), {}};
}

void StandInNode::put_guest(std::uint32_t vmid, const std::string& config) {
  write(fmt::format("/etc/pve/nodes/pve1/qemu-server/{}.conf", vmid), config);
}

std::optional<std::string> StandInNode::config(std::uint32_t vmid) const {
  return read(fmt::format("/etc/pve/nodes/pve1/qemu-server/{}.conf", vmid));
}

void StandInNode::run_guest(std::uint32_t vmid, const std::string& mode) {
  const std::string folder = root_.string() + std::string(run_folder);
  const std::string mode_file = fmt::format("{}/{}.mode", folder, vmid);
  const std::string pid_file = fmt::format("{}/{}.pid", folder, vmid);
  guests_.erase(vmid);
  for (const char* kind : {"pid", "qmp", "qga"}) {
    std::filesystem::remove(fmt::format("{}/{}.{}", folder, vmid, kind));
  }
  std::ofstream(mode_file) << mode;
  guests_[vmid] = shell_.start({"/usr/bin/python3", (stand_ins / "fake_qemu.py").string(), folder,
                                std::to_string(vmid), mode_file, "-pidfile", pid_file},
                               {});
  for (int tries = 0; !std::filesystem::exists(pid_file); ++tries) {
    if (tries == 1000) throw std::runtime_error("the guest does not start");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void StandInNode::add_command(const std::string& name, const std::string& script) {
  write("/bin/" + name, "#!/bin/sh\n" + script + "\n");
  std::filesystem::permissions(root_ / "bin" / name, std::filesystem::perms::owner_all);
}

void StandInNode::remove_command(const std::string& name) {
  std::filesystem::remove(root_ / "bin" / name);
}

void StandInNode::run_ha() {
  ha_ = start({"pve-ha", "daemon", "--interval", "0.1"}, {});
}

}  // namespace crossover::test
