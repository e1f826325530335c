/// \file
/// What a cephx user may do, as `ceph auth` writes it (Ceph's documentation, "User management").
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// By service, "mon" or "osd": its clauses, with commas between.
using CephCaps = std::map<std::string, std::string>;

/// What a cephx user may be called here, without "client.": letters, digits, '.', '-' and '_', a letter or digit
/// first and last, at most 64. Its keyring's name and the command line of an agent are made of it.
bool is_ceph_user_name(std::string_view name) noexcept;

/// What the receiving side needs on these pools; see docs/access.md. Throws Error{unsupported} for a pool whose
/// name could be read as more than a name.
CephCaps destination_caps(const std::set<std::string>& pools);

/// Each clause of `wanted` that `have` does not give, by service, in order. One that is wider ("allow *", a profile
/// without a pool) gives it as well; how else clauses could add up to one is not guessed.
std::map<std::string, std::vector<std::string>> missing_caps(const CephCaps& have, const CephCaps& wanted);

/// `have`, and what it lacks of `wanted`.
CephCaps widened_caps(const CephCaps& have, const CephCaps& wanted);

/// The `ceph auth caps` command line that gives a user these caps, for a shell.
std::string caps_command(std::string_view user, const CephCaps& caps);

}  // namespace crossover
