/// \file
/// Content that is sent to an agent.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "agent/held_connection.hpp"
#include "agent/transfer_sender.hpp"
#include "engine/image_store.hpp"

namespace crossover::agent {

/// Asks for `operation`, which takes a transfer, and gives the sink for it. Its finish() throws Error{format} if not
/// everything arrived as it was sent. It must not outlive the connection.
std::unique_ptr<DiffSink> begin_sending(HeldConnection& connection, const std::string& operation, Json request,
                                        const std::string& subject, const std::stop_token& stop,
                                        const SendWindow& window);

}  // namespace crossover::agent
