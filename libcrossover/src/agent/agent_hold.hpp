/// \file
/// An image that the agent holds.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "agent/connection_pool.hpp"
#include "agent/transfer_sender.hpp"
#include "engine/image_store.hpp"

namespace crossover::agent {

/// The hold of a connection that has just been told "hold". Says something often enough to be known to live. When
/// `stop` is triggered it gives the connection up, and with it the hold.
std::unique_ptr<ImageHold> make_agent_hold(ConnectionPool::Lease connection, std::string subject,
                                           const SendWindow& window, std::stop_token stop);

}  // namespace crossover::agent
