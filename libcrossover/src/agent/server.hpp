/// \file
/// The far end of a connection: what `crossover agent` does.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>

#include "agent/fd_stream.hpp"
#include "agent/inbox.hpp"
#include "agent/messages.hpp"
#include "agent/point_service.hpp"
#include "engine/ports.hpp"

namespace crossover::agent {

/// What a server serves. What it refers to outlives it.
struct Service {
  Side side;                       ///< as its client sees it
  Reception* reception = nullptr;  ///< meets the points that are offered; without one none can be
  bool restricted = false;         ///< the client looks and offers, and nothing else
  /// Hears of what such a client was refused; what it throws is dropped.
  std::function<void(const std::string& refusal)> on_refusal = {};
};

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
  Server(int in, int out, const Service& service, std::uint64_t memory_bytes = std::uint64_t{32} << 20,
         Prepare prepare = {},
         std::chrono::milliseconds silence = std::chrono::seconds{45},
         std::chrono::milliseconds beat = std::chrono::seconds{5});
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Serves until the input ends or `stop` is triggered. Throws Error{format} if the client speaks no protocol of
  /// this kind, after saying so to it, and Error{io} if it does not take its answers.
  void serve(std::stop_token stop);

  /// Ends the connection, whatever is under way; returns at once. From any thread.
  void end() { ending_.request_stop(); }
  /// Triggered when the client is gone or is not to be served any more.
  [[nodiscard]] std::stop_token ending() const { return ending_.get_token(); }

 private:
  /// False: the connection is at its end.
  bool greet();
  bool handle(const Json& request);
  /// The result; nothing if the request was answered already.
  using Result = std::optional<Json>;
  Result dispatch(const std::string& operation, const Json& request);

  enum class Who {
    anyone,        ///< a client that is restricted to receiving, too
    unrestricted,
  };
  /// An operation is what stands there, and no other one is served. See messages.hpp for what they take and give.
  struct Operation {
    Who who;
    Result (*serve)(Server& server, const Json& request);
  };
  static const std::map<std::string, Operation, std::less<>>& operations();

  [[nodiscard]] std::stop_token stop() const { return ending_.get_token(); }
  [[nodiscard]] Hypervisor& hypervisor() const { return service_.side.hypervisor; }
  [[nodiscard]] GuestPower& power() const { return service_.side.power; }
  ImageStore& store(const Json& request);
  ImageHold& held();
  PointService& points();

  Result prepare(const Json& request);
  Result hold(const Json& request);
  Result read_diff(const Json& request);
  Result read_ranges(const Json& request);
  Result hold_config(const Json& request);
  Result release_config();
  Result hold_guest(const Json& request);
  Result release_guest();
  /// What the client says of the memory its transfer may take.
  void take_memory(const Json& request);
  /// Takes a transfer into the sink, and returns what the client is told of it.
  Json write(std::unique_ptr<DiffSink> sink);
  stream::Digest receive(DiffSink& sink);
  /// Tells the client again and again that its request is being worked on.
  void beat(const std::stop_token& destroyed);
  void answer(const Json& result);
  void answer_error(const Error& error);

  std::stop_source ending_;
  FdStream stream_;
  Service service_;
  std::uint64_t memory_bytes_;
  Prepare prepare_;
  Inbox inbox_;
  std::chrono::milliseconds beat_;
  std::optional<PointService> points_;
  std::unique_ptr<GuestHold> guest_hold_;
  std::unique_ptr<ConfigHold> config_hold_;
  std::unique_ptr<ImageHold> hold_;
  Json id_;                         // of the request at hand
  std::atomic<bool> busy_ = false;  // with a request
  bool broken_ = false;             // it failed where the client may be in the middle of something
  std::jthread beating_;            // last: it uses everything above
};

}  // namespace crossover::agent
