#include "plan/transfer_progress.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "crossover/error.hpp"

namespace crossover {

namespace {

using nlohmann::json;

constexpr int version = 1;

}  // namespace

std::string render_progress(const TransferProgress& progress, std::uint64_t client) {
  json value{{"version", version}, {"transfer", progress.id}, {"offset", progress.offset}};
  if (client != 0) value["client"] = client;
  return value.dump();
}

std::optional<TransferProgress> parse_progress(std::string_view text) {
  try {
    const json value = json::parse(text);
    if (value.at("version").get<int>() != version) return std::nullopt;
    return TransferProgress{value.at("transfer"), value.at("offset")};
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

std::optional<std::uint64_t> progress_client(std::string_view text) {
  try {
    return json::parse(text).at("client").get<std::uint64_t>();
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

void require_progress(const std::optional<std::string>& stored, const TransferProgress& from,
                      const std::string& image) {
  const auto fail = [&](const std::string& cause) {
    throw Error(ErrorCode::conflict, "write diff", image, cause + "; it was not touched, run again", true);
  };
  const std::optional<TransferProgress> known = stored ? parse_progress(*stored) : std::nullopt;
  if (!known || known->id != from.id) fail("its metadata does not say any more that this transfer was begun");
  if (known->offset < from.offset) {
    fail(fmt::format("its metadata says that this transfer came to {}, not to {}", known->offset, from.offset));
  }
}

}  // namespace crossover
