/// \file
/// A conflict that a run meets on its way.
#pragma once

#include <fmt/format.h>

#include <string>

#include "crossover/conflict.hpp"
#include "crossover/error.hpp"

namespace crossover {

/// An Error whose cause begins with the conflict's name.
class ConflictError final : public Error {
 public:
  ConflictError(Conflict conflict, std::string operation, std::string subject, const std::string& evidence)
      : Error(conflict == Conflict::image_in_use ? ErrorCode::in_use : ErrorCode::conflict, std::move(operation),
              std::move(subject), fmt::format("{}: {}", to_string(conflict), evidence)),
        conflict_(conflict) {}

  [[nodiscard]] Conflict conflict() const noexcept { return conflict_; }

 private:
  Conflict conflict_;
};

}  // namespace crossover
