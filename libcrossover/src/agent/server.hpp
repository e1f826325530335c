/// \file
/// The far end of a connection: what `crossover agent` does.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>

#include "agent/fd_stream.hpp"
#include "agent/inbox.hpp"
#include "agent/messages.hpp"
#include "engine/ports.hpp"

namespace crossover::agent {

/// Serves one connection, one request at a time. Holds nothing that outlives it but what the requests changed: a
/// sink that was not finished leaves the head torn, a guest that is held goes on, a configuration that is held
/// becomes the former one again, an image that is held is not any more.
class Server {
 public:
  /// Begins to get ready for requests about a storage, as this user if there is one, and returns at once. What goes
  /// wrong is for those requests to meet.
  using Prepare = std::function<void(const std::string& storage, const std::optional<CephUser>& user)>;

  /// Does not own the descriptors; see FdStream for what it needs of them. Of a transfer's content at most
  /// `memory_bytes` are under way, half of them ahead of the image, and less if the client says so. A client that
  /// says nothing for `silence` while it sends a transfer, or holds something, is gone: its host may have died, and
  /// with it the word that it did.
  /// Every `beat` the client hears that its request is being worked on.
  Server(int in, int out, Side side, std::uint64_t memory_bytes = std::uint64_t{32} << 20, Prepare prepare = {},
         std::chrono::milliseconds silence = std::chrono::seconds{45},
         std::chrono::milliseconds beat = std::chrono::seconds{5});
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Serves until the input ends or `stop` is triggered. Throws Error{format} if the client speaks no protocol of
  /// this kind, after saying so to it, and Error{io} if it does not take its answers.
  void serve(std::stop_token stop);

  /// Triggered when the client is gone or is not to be served any more.
  [[nodiscard]] std::stop_token ending() const { return ending_.get_token(); }

 private:
  /// False: the connection is at its end.
  bool greet();
  bool handle(const Json& request);
  /// The result; nothing if the request was answered already.
  std::optional<Json> dispatch(const std::string& operation, const Json& request);
  std::optional<Json> images(const std::string& operation, const Json& request);
  Json hypervisor(const std::string& operation, const Json& request);
  Json power(const std::string& operation, const Json& request);
  void hold(ImageStore& store, const ImageSpec& image, const Json& request);
  void read_diff(ImageStore& store, const ImageSpec& image, const Json& request);
  void read_ranges(ImageStore& store, const ImageSpec& image, const Json& request);
  Json held(const std::string& operation, const Json& request);
  Json write_diff(const TransferProgress& from);
  stream::Digest receive(DiffSink& sink);
  /// Tells the client again and again that its request is being worked on.
  void beat(const std::stop_token& destroyed);
  void answer(const Json& result);
  void answer_error(const Error& error);

  std::stop_source ending_;
  FdStream stream_;
  Side side_;
  std::uint64_t memory_bytes_;
  Prepare prepare_;
  Inbox inbox_;
  std::chrono::milliseconds beat_;
  std::unique_ptr<GuestHold> guest_hold_;
  std::unique_ptr<ConfigHold> config_hold_;
  std::unique_ptr<ImageHold> hold_;
  Json id_;                         // of the request at hand
  std::atomic<bool> busy_ = false;  // with a request
  bool broken_ = false;             // it failed where the client may be in the middle of something
  std::jthread beating_;            // last: it uses everything above
};

}  // namespace crossover::agent
