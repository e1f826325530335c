#include "rbd/rbd_command_line.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace crossover::rbd {

std::vector<std::string> access_options(const CephAccess& access) {
  std::vector<std::string> out;
  if (!access.conf.empty()) out.insert(out.end(), {"-c", access.conf});
  if (!access.monitors.empty()) out.insert(out.end(), {"-m", fmt::format("{}", fmt::join(access.monitors, ","))});
  if (!access.cluster_name.empty()) out.insert(out.end(), {"--cluster", access.cluster_name});
  if (!access.with_defaults) {
    out.insert(out.end(), {"--auth_client_required", access.keyring.empty() ? "none" : "cephx"});
  }
  if (!access.user.empty()) out.insert(out.end(), {"-n", "client." + access.user});
  if (!access.keyring.empty()) out.insert(out.end(), {"--keyring", access.keyring});
  for (const auto& [option, value] : access.settings) out.insert(out.end(), {"--" + option, value});
  return out;
}

std::vector<std::string> rbd_command(const CephAccess& access, const ImageSpec& image) {
  std::vector<std::string> out{"rbd", "-p", image.pool};
  if (!image.rados_namespace.empty()) out.insert(out.end(), {"--namespace", image.rados_namespace});
  const std::vector<std::string> options = access_options(access);
  out.insert(out.end(), options.begin(), options.end());
  return out;
}

std::vector<std::string> ceph_command(const CephAccess& access) {
  std::vector<std::string> out{"ceph"};
  const std::vector<std::string> options = access_options(access);
  out.insert(out.end(), options.begin(), options.end());
  return out;
}

}  // namespace crossover::rbd
