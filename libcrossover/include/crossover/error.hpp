/// \file
/// What goes wrong, as values a program can act on.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace crossover {

/// The kind of a failure. A caller decides by this, never by the text.
enum class ErrorCode {
  usage,           ///< an option or argument makes no sense; nothing was done
  not_found,       ///< a guest, node, storage, image or snapshot that was named does not exist
  already_exists,  ///< something is there that was to be created
  permission,      ///< the other side knows us and says no
  unreachable,     ///< no connection, or it broke
  host_key,        ///< the host's key is unknown or not the one on record
  authentication,  ///< the host accepts none of our keys
  conflict,        ///< a state a human has to look at; going on could cost data
  locked,          ///< somebody else holds the lock
  in_use,          ///< an image is open elsewhere
  io,              ///< reading or writing failed
  format,          ///< bytes that are not what they should be
  timeout,         ///< an answer did not come in time
  unsupported,     ///< this version or kind of thing cannot do it
  command,         ///< a command on a node failed in a way that fits nothing above
};

/// The code's name as it stands in JSON, such as "not_found".
std::string_view to_string(ErrorCode code) noexcept;

/// One failure: what was tried (operation), on what (subject), why it failed (cause), and whether trying the same
/// again later can help; where a system call or a library of Ceph failed also its errno. what() is one line:
/// "operation subject: cause". No secret ever goes into any of them.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string operation, std::string subject, std::string cause, bool retryable = false,
        int error_number = 0);

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  [[nodiscard]] const std::string& operation() const noexcept { return operation_; }
  [[nodiscard]] const std::string& subject() const noexcept { return subject_; }
  [[nodiscard]] const std::string& cause() const noexcept { return cause_; }
  [[nodiscard]] bool retryable() const noexcept { return retryable_; }
  /// The errno that failed, or the one Ceph's own tools have for it; 0: none.
  [[nodiscard]] int error_number() const noexcept { return error_number_; }

 private:
  ErrorCode code_;
  std::string operation_;
  std::string subject_;
  std::string cause_;
  bool retryable_;
  int error_number_;
};

/// Thrown out of a call whose stop token was triggered. It is deliberately no Error and no std::exception, so that
/// a handler for failures cannot swallow it.
struct Cancelled {};

}  // namespace crossover
