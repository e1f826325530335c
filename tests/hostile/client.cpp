#include "client.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "crossover/error.hpp"
#include "unit/stream/recorded_transfer.hpp"

namespace crossover::test {

bool is_for_anyone(std::string_view operation) {
  static const std::set<std::string_view> anyones{
      "ping",        "prepare",      "survey",     "fsid",         "available_bytes", "find_all",
      "hash_blocks", "begin_point",  "carry_out",  "record_point", "end_point",       "receive_first_disk",
      "receive_disk",
      "write_disk",  "disk_applied", "disk_snapshot", "release_disk"};
  return anyones.contains(operation);
}

Connection::Connection(const agent::Service& service, Tally& tally) : tally_(tally) {
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds_.data()) != 0) {
    throw std::runtime_error("no sockets");
  }
  const timeval patience{60, 0};
  ::setsockopt(fds_[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  server_ = std::thread([this, service] {
    try {
      agent::Server(fds_[1], fds_[1], service).serve({});
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the client heard of it
    } catch (const std::exception& error) {
      died_of_ = error.what();
    }
    ::shutdown(fds_[1], SHUT_RDWR);
  });
  send(greeting());
}

Connection::~Connection() {
  ::shutdown(fds_[0], SHUT_RDWR);
  server_.join();
  if (!died_of_.empty()) blame(fmt::format("the agent died of: {}", died_of_));
  ::close(fds_[0]);
  ::close(fds_[1]);
}

void Connection::blame(const std::string& what) {
  if (tally_.wrong.empty()) tally_.wrong = fmt::format("{} ({})", what, asked_.substr(0, 300));
}

void Connection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fds_[0], bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return;  // the server is gone, as the next answer tells
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

std::optional<agent::Json> Connection::ask(agent::Json request) {
  if (ended_) return std::nullopt;
  ++tally_.requests;
  if (request.is_object()) request["id"] = ++id_;
  const std::string text = agent::render_json(request);
  asked_ = text;
  send(text_of(stream::render_frame(stream::FrameType::request, text.size() < 2 ? text + " " : text)));
  auto result = answer();
  if (result && request.is_object() && request.contains("op") && request["op"].is_string()) {
    const auto operation = request["op"].get<std::string>();
    if (!is_for_anyone(operation)) blame(fmt::format("{} was done for a client that is restricted", operation));
  }
  return result;
}

std::optional<agent::Json> Connection::answer() {
  const auto text = next_answer();
  if (!text) {
    ended_ = true;
    return std::nullopt;
  }
  if (text->find(secret) != std::string::npos) blame("an answer tells what is none of its client's");
  const agent::Json json = agent::parse_json(*text);
  if (!json.contains("error")) return std::optional<agent::Json>(std::in_place, json.at("result"));
  ++tally_.refused;
  tally_.last_refusal = fmt::format("{}: {}", json["error"].value("code", ""), json["error"].value("cause", ""));
  return std::nullopt;
}

std::optional<std::string> Connection::next_answer() {
  for (;;) {
    if (!greeted_) greeted_ = decoder_.hello().has_value();
    if (greeted_) {
      while (auto frame = decoder_.next()) {
        if (frame->type == stream::FrameType::answer) return std::string(frame->text());
      }
    }
    std::array<std::byte, 65536> buffer{};
    const ssize_t count = ::recv(fds_[0], buffer.data(), buffer.size(), 0);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) blame("no answer within a minute");
    if (count <= 0) return std::nullopt;
    decoder_.feed(std::span(buffer).first(static_cast<std::size_t>(count)));
  }
}

}  // namespace crossover::test
