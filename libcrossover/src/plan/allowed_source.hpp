/// \file
/// Sources that are let in to send replicas: the lines of authorized_keys with `crossover agent --allow receive`,
/// and what is written there for one more, or one less. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/restriction.hpp"
#include "crossover/storage_config.hpp"
#include "model/public_key.hpp"

namespace crossover {

/// The restricted agent that a line's command starts.
struct AgentCommand {
  Restriction restriction;
  std::string user;     ///< the agent's own cephx user; empty: that of each storage
  std::string keyring;  ///< its path; empty with `user`

  bool operator==(const AgentCommand&) const = default;
};

/// A line of authorized_keys that starts a restricted agent.
struct AgentLine {
  std::size_t number = 0;  ///< of the line, from 1
  AgentCommand command;
  std::string unreadable;  ///< why its command cannot be told; empty: it can. It may allow anything then
  std::string type;
  std::string base64;
  bool restricted = false;  ///< it has the option `restrict`: no forwarding, no terminal

  bool operator==(const AgentLine&) const = default;
};

/// All of them, in the order of the file. Lines that people wrote count as well, however they quote.
std::vector<AgentLine> agent_lines(std::string_view authorized_keys);

/// The agent that a command for root's shell starts. Nothing if it does not start one that is restricted;
/// `unreadable` is set, and the rest not to be used, where it does, or may, and what it allows cannot be told for
/// certain.
std::optional<AgentCommand> parse_agent_command(std::string_view command, std::string& unreadable);

/// The line for authorized_keys, without a newline. Every value in it is a plain word by its own grammar;
/// Error{usage} if one is not, so that nothing gets into the command.
std::string render_agent_line(const AgentCommand& command, const PublicKey& key);

/// What becomes of authorized_keys.
struct KeysChange {
  std::string conflict;  ///< one line that begins with the conflict's name; not empty: nothing else counts
  std::string bytes;     ///< the file as it is to be
  bool changed = false;  ///< and whether that is not what it is
  std::string line;      ///< the line that is written, that is there already, or that goes
  std::optional<AgentLine> before;  ///< what the source had
};

/// Lets a source in: its line comes behind the last line that ends, so that what is in the file stays byte for
/// byte. What stands in the way:
/// - "source name taken": the name is another key's, or has other values, and `replace` does not say to put the new
///   line in the place of the old one;
/// - "key taken": another line has the key, and sshd heeds the first line only;
/// - "sources overlap": another source reaches one of its VMIDs on one of its storages, or on another storage of
///   the same images (`storages` tells);
/// - "line not understood": another line starts an agent of which cannot be told what it allows.
/// `path` is for the texts.
KeysChange plan_allow(std::string_view authorized_keys, const AgentCommand& command, const PublicKey& key,
                      bool replace, const StorageConfig& storages, const std::string& path);

/// Takes a source's line away. Throws Error{not_found} with the names that are there if there is none of its name,
/// and gives a conflict if there are several.
KeysChange plan_remove(std::string_view authorized_keys, std::string_view name, const std::string& path);

/// Whether an agent of some line is, or may be, the cephx user's.
bool uses_ceph_user(std::string_view authorized_keys, std::string_view user);

/// Where the keyring of a user that a source has is kept.
std::string source_keyring_path(std::string_view user);

/// A keyring's text, with the mark that says that the user was made for sources.
std::string render_source_keyring(std::string_view user, const std::string& key, bool made_here);

/// What a keyring says.
struct SourceKeyring {
  std::string key;         ///< of the user that was asked for; empty: it has none of it
  bool made_here = false;  ///< it has the mark

  bool operator==(const SourceKeyring&) const = default;
};
SourceKeyring parse_source_keyring(std::string_view bytes, std::string_view user);

}  // namespace crossover
