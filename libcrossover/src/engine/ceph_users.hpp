/// \file
/// The port to the cephx users of the cluster's own Ceph. Implementation: rbd/ceph_users; the tests have one in
/// memory.
#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "model/ceph_caps.hpp"

namespace crossover {

/// A cephx user. The key is a secret: it goes into a keyring, and nowhere else.
struct CephUserState {
  std::string key;
  CephCaps caps;

  bool operator==(const CephUserState&) const = default;
};

/// Users, by their names without "client.". Every call throws Error.
class CephUsers {
 public:
  virtual ~CephUsers() = default;

  /// Nothing if there is none of that name.
  virtual std::optional<CephUserState> find(const std::string& user, std::stop_token stop) = 0;

  /// Makes a user. One that somebody made meanwhile stays as it is, and is an Error unless it has these caps.
  virtual CephUserState create(const std::string& user, const CephCaps& caps, std::stop_token stop) = 0;

  virtual void remove(const std::string& user, std::stop_token stop) = 0;
};

}  // namespace crossover
