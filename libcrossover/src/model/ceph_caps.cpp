#include "model/ceph_caps.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "crossover/error.hpp"
#include "model/text.hpp"

namespace crossover {

namespace {

constexpr std::string_view rbd_profile = "profile rbd";

bool is_plain_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(),
                                      [](char c) { return text::is_alnum(c) || c == '.' || c == '-' || c == '_'; });
}

/// One clause in one form: a blank between words, no quotes, "pool=P".
std::string normal(std::string_view clause) {
  std::string result;
  for (const char c : text::trim(clause)) {
    if (c == '"' || c == '\'') continue;
    if (!text::is_space(c)) {
      result += c;
    } else if (!result.ends_with(' ')) {
      result += ' ';
    }
  }
  if (const auto at = result.find(" pool "); at != std::string::npos) result[at + 5] = '=';
  return result;
}

std::vector<std::string> clauses_of(std::string_view caps) {
  std::vector<std::string> clauses;
  std::string clause;
  char quote = 0;
  for (const char c : caps) {
    if (quote == 0 && (c == ',' || c == ';')) {
      clauses.push_back(normal(clause));
      clause.clear();
      continue;
    }
    if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    }
    clause += c;
  }
  clauses.push_back(normal(clause));
  std::erase_if(clauses, [](const std::string& own) { return own.empty(); });
  return clauses;
}

bool gives(const std::vector<std::string>& have, const std::string& wanted) {
  return std::any_of(have.begin(), have.end(), [&wanted](const std::string& clause) {
    return clause == wanted || clause == "allow *" ||
           (clause == rbd_profile && wanted.starts_with(fmt::format("{} ", rbd_profile)));
  });
}

std::string quoted(std::string_view value) {
  std::string result = "'";
  for (const char c : value) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

}  // namespace

bool is_ceph_user_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 64 && text::is_alnum(name.front()) && text::is_alnum(name.back()) &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return text::is_alnum(c) || c == '.' || c == '-' || c == '_'; });
}

CephCaps destination_caps(const std::set<std::string>& pools) {
  std::vector<std::string> clauses;
  for (const std::string& pool : pools) {
    if (!is_plain_name(pool)) {
      throw Error(ErrorCode::unsupported, "write caps", fmt::format("pool '{}'", pool),
                  "its name has more than letters, digits, '.', '-' and '_'; make the cephx user by hand");
    }
    clauses.push_back(fmt::format("{} pool={}", rbd_profile, pool));
  }
  return {{"mon", std::string(rbd_profile)}, {"osd", fmt::format("{}", fmt::join(clauses, ", "))}};
}

std::map<std::string, std::vector<std::string>> missing_caps(const CephCaps& have, const CephCaps& wanted) {
  std::map<std::string, std::vector<std::string>> missing;
  for (const auto& [service, caps] : wanted) {
    const auto own = have.find(service);
    const std::vector<std::string> given = own == have.end() ? std::vector<std::string>() : clauses_of(own->second);
    for (std::string& clause : clauses_of(caps)) {
      if (!gives(given, clause)) missing[service].push_back(std::move(clause));
    }
  }
  return missing;
}

CephCaps widened_caps(const CephCaps& have, const CephCaps& wanted) {
  CephCaps caps = have;
  for (const auto& [service, clauses] : missing_caps(have, wanted)) {
    std::string& own = caps[service];
    own += fmt::format("{}{}", own.empty() ? "" : ", ", fmt::join(clauses, ", "));
  }
  return caps;
}

std::string caps_command(std::string_view user, const CephCaps& caps) {
  std::string command = fmt::format("ceph auth caps client.{}", user);
  for (const auto& [service, clauses] : caps) command += fmt::format(" {} {}", service, quoted(clauses));
  return command;
}

}  // namespace crossover
