/// \file
/// The same work for several things at once.
#pragma once

#include <cstddef>
#include <functional>

namespace crossover {

/// Calls `work` with 0 to count-1, in this order, at most `limit` (1 or more) at the same time, and returns when
/// all calls have. After one that throws no further one begins; the first that threw, by its number, is thrown on.
/// With a limit of 1 everything happens in the calling thread.
void in_parallel(std::size_t count, std::size_t limit, const std::function<void(std::size_t index)>& work);

}  // namespace crossover
