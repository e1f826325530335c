#include "agent/messages.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/conflict_error.hpp"

namespace crossover {

void to_json(nlohmann::json& out, const Restriction& restriction) {
  out = {{"pools", restriction.pools}, {"vmids", restriction.vmids}};
  if (!restriction.name.empty()) out["name"] = restriction.name;
}

void from_json(const nlohmann::json& in, Restriction& restriction) {
  in.at("pools").get_to(restriction.pools);
  in.at("vmids").get_to(restriction.vmids);
  restriction.name = in.value("name", std::string());
}

void to_json(nlohmann::json& out, const ConfigVersion& version) {
  out = {{"bytes", version.bytes}, {"modified", version.modified}};
}

void from_json(const nlohmann::json& in, ConfigVersion& version) {
  in.at("bytes").get_to(version.bytes);
  const nlohmann::json& modified = in.at("modified");
  version.modified.reset();
  if (!modified.is_null()) version.modified = agent::value_of<std::int64_t>(modified, "read modification time");
}

}  // namespace crossover

namespace crossover::agent {

namespace {

// Far more than any message has; deeper ones could exhaust the stack.
constexpr int max_depth = 32;

[[noreturn]] void fail(const std::string& cause) {
  throw Error(ErrorCode::format, "read message", "", cause);
}

std::string widen(const std::string& bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xc0 | byte >> 6);
      text += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return text;
}

/// The parser has checked that it is UTF-8.
std::string narrow(const std::string& text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto lead = static_cast<unsigned char>(text[at]);
    if (lead < 0x80) {
      bytes += text[at];
    } else if ((lead == 0xc2 || lead == 0xc3) && at + 1 < text.size()) {
      bytes += static_cast<char>(lead << 6 | (static_cast<unsigned char>(text[++at]) & 0x3f));
    } else {
      fail("a string with a character that is no byte");
    }
  }
  return bytes;
}

template <typename Convert>
Json converted(const Json& value, const Convert& convert, int depth = 0) {
  if (depth > max_depth) fail("values nested too deep");
  switch (value.type()) {
    case Json::value_t::string:
      return convert(value.get_ref<const std::string&>());
    case Json::value_t::array: {
      Json out = Json::array();
      for (const Json& item : value) out.push_back(converted(item, convert, depth + 1));
      return out;
    }
    case Json::value_t::object: {
      Json out = Json::object();
      for (const auto& [key, item] : value.items()) out[convert(key)] = converted(item, convert, depth + 1);
      return out;
    }
    default:
      return value;
  }
}

bool is_ascii(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// In place: a second copy of all that was read would be as large as the first. The parser has checked the depth.
void narrow_strings(Json& value) {
  if (value.is_string()) {
    auto& text = value.get_ref<std::string&>();
    if (!is_ascii(text)) text = narrow(text);
  } else if (value.is_array()) {
    for (Json& item : value) narrow_strings(item);
  } else if (value.is_object()) {
    auto& members = value.get_ref<Json::object_t&>();
    for (auto& member : members) narrow_strings(member.second);
    if (std::all_of(members.begin(), members.end(), [](const auto& member) { return is_ascii(member.first); })) return;
    Json::object_t renamed;
    for (auto& [key, item] : members) renamed[narrow(key)] = std::move(item);
    members = std::move(renamed);
  }
}

constexpr auto all_codes = {ErrorCode::usage,          ErrorCode::not_found,   ErrorCode::already_exists,
                            ErrorCode::permission,     ErrorCode::unreachable, ErrorCode::host_key,
                            ErrorCode::authentication, ErrorCode::conflict,    ErrorCode::locked,
                            ErrorCode::in_use,         ErrorCode::io,          ErrorCode::format,
                            ErrorCode::timeout,        ErrorCode::unsupported, ErrorCode::command};

constexpr auto all_conflicts = {Conflict::no_common_base,   Conflict::replica_diverged,  Conflict::image_in_use,
                                Conflict::another_source,   Conflict::target_vmid_taken, Conflict::size_mismatch,
                                Conflict::replica_running,  Conflict::replica_promoted,  Conflict::image_name_taken,
                                Conflict::job_name_taken,   Conflict::source_unfinished};

/// The conflict of that name, as it was thrown: its name stands before the evidence in `cause`.
[[noreturn]] void throw_conflict(const std::string& name, std::string operation, std::string subject,
                                 const std::string& cause) {
  const std::string head = name + ": ";
  for (const Conflict conflict : all_conflicts) {
    if (to_string(conflict) != name || !cause.starts_with(head)) continue;
    throw ConflictError(conflict, std::move(operation), std::move(subject), cause.substr(head.size()));
  }
  fail(fmt::format("a conflict of the unknown kind '{}'", name));
}

}  // namespace

std::string render_json(const Json& value) {
  return converted(value, widen).dump();
}

Json parse_json(std::string_view text, std::size_t max_values) {
  // Brackets alone make a hundred bytes of memory from each byte: a message of the largest size would take
  // gigabytes.
  std::size_t values = 0;
  const auto limit = [&](int depth, Json::parse_event_t /*event*/, Json& /*value*/) {
    if (depth > max_depth) fail("values nested too deep");
    if (++values > max_values) fail(fmt::format("it has more than {} values", max_values));
    return true;
  };
  try {
    Json value = Json::parse(text, limit);
    narrow_strings(value);
    return value;
  } catch (const Json::exception& error) {
    fail(error.what());
  }
}

Json render_error(const Error& error) {
  Json json = {{"code", to_string(error.code())},
               {"operation", error.operation()},
               {"subject", error.subject()},
               {"cause", error.cause()},
               {"retryable", error.retryable()}};
  if (const auto* conflict = dynamic_cast<const ConflictError*>(&error)) {
    json["conflict"] = to_string(conflict->conflict());
  }
  return json;
}

void throw_error(const Json& value) {
  const auto text = [&value](const char* key) {
    const auto found = value.find(key);
    return found == value.end() ? std::string() : value_of<std::string>(*found, "read error");
  };
  if (!value.is_object()) fail("an error that is no object");
  if (value.contains("conflict")) throw_conflict(text("conflict"), text("operation"), text("subject"), text("cause"));
  const std::string name = text("code");
  const auto retryable = value.find("retryable");
  for (const ErrorCode code : all_codes) {
    if (to_string(code) != name) continue;
    throw Error(code, text("operation"), text("subject"), text("cause"),
                retryable != value.end() && value_of<bool>(*retryable, "read error"));
  }
  fail(fmt::format("an error of the unknown kind '{}'", name));
}

}  // namespace crossover::agent
