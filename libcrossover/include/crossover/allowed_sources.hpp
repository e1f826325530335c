/// \file
/// The library's door for which sources may send replicas to this cluster.
#pragma once

#include <cstddef>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "crossover/error.hpp"
#include "crossover/options.hpp"
#include "crossover/report.hpp"

namespace crossover {

/// A source that is let in: one line of authorized_keys.
struct AllowedSource {
  std::size_t line = 0;               ///< its number in the file, from 1
  std::string name;                   ///< empty: the line has none, somebody wrote it by hand
  std::vector<std::string> storages;  ///< it may send to
  std::string vmids;                  ///< its replicas may have: "99000-99999,500"
  std::string user;                   ///< the agent's cephx user, without "client."; empty: that of each storage
  std::string key_type;               ///< "ssh-ed25519"
  std::string fingerprint;  ///< "SHA256:...", as `ssh-keygen -l` prints it; empty: the line has no such key
  bool restricted = false;  ///< the line has the option `restrict`, without which the key can forward ports
  std::string unreadable;   ///< why what the line allows cannot be told; empty: it can
};

/// All of them.
struct AllowedSourceList {
  std::string file;     ///< authorized_keys, links followed
  bool shared = false;  ///< it is of the whole cluster, not of this node alone
  std::vector<AllowedSource> sources;
};

/// What was, or would be, done for one source.
struct AllowSourceReport {
  std::string name;
  std::string file;     ///< authorized_keys, links followed
  bool shared = false;  ///< it is of the whole cluster, not of this node alone
  std::string line;     ///< the line that is there now, or that went
  bool dry_run = false;
  bool changed = false;            ///< the file was, or would be, changed
  std::vector<std::string> steps;  ///< what was, or would be, done besides: one sentence each, without a full stop
  std::vector<std::string> left_to_do;  ///< for a human, one line each
  Outcome outcome = Outcome::failed;
  std::optional<ErrorCode> error_code;  ///< why it is not ok
  std::string error;                    ///< one line; empty if ok
};

/// The list and the report as one JSON object each; field names are those above.
std::string to_json(const AllowedSourceList& list);
std::string to_json(const AllowSourceReport& report);

/// Lets sources in, and takes that back. This host has to be a Proxmox VE node of the cluster that receives, and
/// this process root's.
///
/// An object is for one thread at a time; different objects are independent of each other. Nothing is printed, no
/// signal handler is installed.
class AllowedSources {
 public:
  /// Writes one line to root's authorized_keys with which a source's key can send replicas and do nothing else,
  /// after the cephx user was made, if one is asked for and not there, and was tried: each storage's pool is opened
  /// with it, an image made, written and removed. What stands in the way is Outcome::conflict in the report, with
  /// nothing changed: a name, a key or VMIDs that are another source's, a cephx user that is there and may do less.
  /// The file is replaced in one step, by what was read and the one line, and only if nobody changed it meanwhile.
  /// If it already has the line, it stays as it is.
  ///
  /// Throws Error{usage} for options that make no sense, Error{not_found} for storages that are not there, and
  /// other Errors for what could not be done; a user that was made for it is then gone again, as it is when
  /// Cancelled is thrown, once the stop token is triggered.
  AllowSourceReport allow(const AllowSourceOptions& options, std::stop_token stop = {});

  /// Takes a source's line away, and then its cephx user with its keyring, if that was made by allow() and nothing
  /// else has it. An agent that runs for the source goes on until its connection ends. Throws Error{not_found} if
  /// there is no source of that name.
  AllowSourceReport remove(const std::string& name, bool dry_run, std::stop_token stop = {});

  /// The sources there are, lines that somebody wrote by hand too, in the order of the file.
  AllowedSourceList list();
};

}  // namespace crossover
