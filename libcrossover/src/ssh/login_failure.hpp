/// \file
/// What is said when a host is not reached, whatever was to carry the connection.
#pragma once

#include <string>
#include <string_view>

#include "crossover/error.hpp"
#include "ssh/ssh_host.hpp"

namespace crossover {

/// The server hung up before the login began: it has too many at once, or is just starting. Worth another attempt
/// soon.
class DroppedLogin : public Error {
 public:
  DroppedLogin(const std::string& host, const std::string& cause)
      : Error(ErrorCode::unreachable, "connect to", host, cause.empty() ? "the connection broke" : cause, true) {}
};

/// A host that hangs up after so many keys, in the words of both transports.
inline constexpr std::string_view too_many_keys =
    "too many authentication failures: it hung up before the right key was offered. Let an IdentityFile name that "
    "key in the ssh configuration for this host, with \"IdentitiesOnly yes\"";

/// The command by which a person logs in to `host`, as it stands in advice.
std::string ssh_by_hand(const SshHost& host);

/// What to do about a login that is refused.
std::string login_advice(const SshHost& host);

/// What the `ssh` program says about a connection that did not come to be, as an Error: host_key, authentication,
/// unsupported, usage or unreachable (DroppedLogin among them). `log` is its own log at level DEBUG1, `errors` what
/// came on its standard error (a jump host's ssh writes there).
[[noreturn]] void throw_login_failure(const SshHost& host, std::string_view log, std::string_view errors);

}  // namespace crossover
