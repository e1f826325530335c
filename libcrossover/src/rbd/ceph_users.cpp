#include "rbd/ceph_users.hpp"

#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "rbd/rbd_error.hpp"

namespace crossover {

namespace {

// A cluster without quorum never answers.
constexpr std::chrono::seconds limit{60};

std::string entity(const std::string& user) {
  return "client." + user;
}

/// `ceph auth get --format json`: one user, in a list.
CephUserState parse_user(const std::string& json, const std::string& user) {
  CephUserState state;
  try {
    const nlohmann::json value = nlohmann::json::parse(json).at(0);
    if (value.at("entity") != entity(user)) throw std::out_of_range("entity");
    state.key = value.at("key");
    state.caps = value.at("caps").get<CephCaps>();
  } catch (const std::exception&) {
    // Its words would have the key in them.
    throw Error(ErrorCode::format, "read cephx user", entity(user),
                "'ceph auth get' says something else than expected");
  }
  return state;
}

}  // namespace

CommandResult CephCommandUsers::ceph(std::vector<std::string> words, std::stop_token stop) {
  std::vector<std::string> argv{"ceph", "-c", "/etc/pve/ceph.conf", "--connect-timeout", "30"};
  argv.insert(argv.end(), words.begin(), words.end());
  return shell_.run(argv, {}, limit, std::move(stop));
}

std::optional<CephUserState> CephCommandUsers::find(const std::string& user, std::stop_token stop) {
  const CommandResult result = ceph({"auth", "get", entity(user), "--format", "json"}, std::move(stop));
  if (result.exit_status == ENOENT) return std::nullopt;
  if (result.exit_status != 0) throw rbd::error_of_command(result, "find cephx user", entity(user));
  return parse_user(result.output, user);
}

CephUserState CephCommandUsers::create(const std::string& user, const CephCaps& caps, std::stop_token stop) {
  std::vector<std::string> words{"auth", "get-or-create", entity(user)};
  for (const auto& [service, clauses] : caps) words.insert(words.end(), {service, clauses});
  const CommandResult result = ceph(std::move(words), stop);
  if (result.exit_status != 0) throw rbd::error_of_command(result, "make cephx user", entity(user));
  const std::optional<CephUserState> made = find(user, std::move(stop));
  if (!made)
    throw Error(ErrorCode::conflict, "make cephx user", entity(user), "somebody removes it at the same time", true);
  return *made;
}

void CephCommandUsers::remove(const std::string& user, std::stop_token stop) {
  const CommandResult result = ceph({"auth", "del", entity(user)}, std::move(stop));
  if (result.exit_status != 0 && result.exit_status != ENOENT) {
    throw rbd::error_of_command(result, "remove cephx user", entity(user));
  }
}

}  // namespace crossover
