/// \file
/// cephx users through the `ceph` command of this host, as its administrator.
#pragma once

#include "engine/ceph_users.hpp"
#include "engine/shell.hpp"

namespace crossover {

/// CephUsers of the Ceph that /etc/pve/ceph.conf leads to. Keys come on the command's output and go nowhere from
/// here: neither into an argument nor into an error.
class CephCommandUsers final : public CephUsers {
 public:
  /// `shell` has to outlive it.
  explicit CephCommandUsers(Shell& shell) : shell_(shell) {}

  std::optional<CephUserState> find(const std::string& user, std::stop_token stop) override;
  CephUserState create(const std::string& user, const CephCaps& caps, std::stop_token stop) override;
  void remove(const std::string& user, std::stop_token stop) override;

 private:
  CommandResult ceph(std::vector<std::string> words, std::stop_token stop);

  Shell& shell_;
};

}  // namespace crossover
