#include "drive_schema.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "text.hpp"

namespace crossover {

namespace {

enum class Kind { boolean, integer, number, string, choice, size, urlencoded, word, wwn };

struct Option {
  std::string_view name;
  Kind kind;
  std::string_view choices = {};  // of Kind::choice, separated by one space
  unsigned limit = 0;             // minimum of an integer, longest of a string; 0: none
};

constexpr auto common = std::to_array<Option>({
    {"media", Kind::choice, "cdrom disk"},
    {"cyls", Kind::integer},
    {"heads", Kind::integer},
    {"secs", Kind::integer},
    {"trans", Kind::choice, "none lba auto"},
    {"snapshot", Kind::boolean},
    {"cache", Kind::choice, "none writethrough writeback unsafe directsync"},
    {"format", Kind::choice, "raw qcow qed qcow2 vmdk cloop"},
    {"size", Kind::size},
    {"backup", Kind::boolean},
    {"replicate", Kind::boolean},
    {"rerror", Kind::choice, "ignore report stop"},
    {"werror", Kind::choice, "enospc ignore report stop"},
    {"aio", Kind::choice, "native threads io_uring"},
    {"discard", Kind::choice, "ignore on"},
    {"detect_zeroes", Kind::boolean},
    {"serial", Kind::urlencoded, {}, 60},
    {"shared", Kind::boolean},
    {"bps", Kind::integer},
    {"bps_rd", Kind::integer},
    {"bps_wr", Kind::integer},
    {"mbps", Kind::number},
    {"mbps_rd", Kind::number},
    {"mbps_wr", Kind::number},
    {"iops", Kind::integer},
    {"iops_rd", Kind::integer},
    {"iops_wr", Kind::integer},
    {"mbps_max", Kind::number},
    {"mbps_rd_max", Kind::number},
    {"mbps_wr_max", Kind::number},
    {"iops_max", Kind::integer},
    {"iops_rd_max", Kind::integer},
    {"iops_wr_max", Kind::integer},
    {"bps_max_length", Kind::integer, {}, 1},
    {"bps_rd_max_length", Kind::integer, {}, 1},
    {"bps_wr_max_length", Kind::integer, {}, 1},
    {"iops_max_length", Kind::integer, {}, 1},
    {"iops_rd_max_length", Kind::integer, {}, 1},
    {"iops_wr_max_length", Kind::integer, {}, 1},
});

constexpr auto ide =
    std::to_array<Option>({{"model", Kind::urlencoded, {}, 120}, {"ssd", Kind::boolean}, {"wwn", Kind::wwn}});
constexpr auto sata = std::to_array<Option>({{"ssd", Kind::boolean}, {"wwn", Kind::wwn}});
constexpr auto scsi = std::to_array<Option>({{"iothread", Kind::boolean},
                                             {"product", Kind::word, {}, 16},
                                             {"queues", Kind::integer, {}, 2},
                                             {"ro", Kind::boolean},
                                             {"scsiblock", Kind::boolean},
                                             {"ssd", Kind::boolean},
                                             {"vendor", Kind::word, {}, 8},
                                             {"wwn", Kind::wwn}});
constexpr auto virtio = std::to_array<Option>({{"iothread", Kind::boolean}, {"ro", Kind::boolean}});
constexpr auto efidisk = std::to_array<Option>({{"format", Kind::choice, "raw qcow qed qcow2 vmdk cloop"},
                                                {"size", Kind::size},
                                                {"efitype", Kind::choice, "2m 4m"},
                                                {"pre-enrolled-keys", Kind::boolean},
                                                {"ms-cert", Kind::choice, "2011 2023 2023w 2023k"}});
constexpr auto tpmstate = std::to_array<Option>({{"format", Kind::choice, "raw qcow qed qcow2 vmdk cloop"},
                                                 {"size", Kind::size},
                                                 {"version", Kind::choice, "v1.2 v2.0"}});

bool has_common_options(DriveBus bus) noexcept {
  return bus == DriveBus::ide || bus == DriveBus::sata || bus == DriveBus::scsi || bus == DriveBus::virtio;
}

std::span<const Option> own_options(DriveBus bus) noexcept {
  switch (bus) {
    case DriveBus::ide:
      return ide;
    case DriveBus::sata:
      return sata;
    case DriveBus::scsi:
      return scsi;
    case DriveBus::virtio:
      return virtio;
    case DriveBus::efidisk:
      return efidisk;
    case DriveBus::tpmstate:
      return tpmstate;
    case DriveBus::unused:
    case DriveBus::other:
      return {};
  }
  return {};
}

const Option* find_option(DriveBus bus, std::string_view name) noexcept {
  const auto find_in = [name](std::span<const Option> options) -> const Option* {
    const auto found =
        std::find_if(options.begin(), options.end(), [name](const Option& o) { return o.name == name; });
    return found == options.end() ? nullptr : &*found;
  };
  if (const Option* own = find_in(own_options(bus))) {
    return own;
  }
  return has_common_options(bus) ? find_in(common) : nullptr;
}

std::string_view without_sign(std::string_view value) noexcept {
  if (!value.empty() && (value.front() == '+' || value.front() == '-')) {
    value.remove_prefix(1);
  }
  return value;
}

// pve-common's is_integer and is_number, which allow a sign and, for numbers, a fraction and an exponent.
bool is_integer(std::string_view value) noexcept {
  return text::all_digits(without_sign(value));
}

bool is_number(std::string_view value) noexcept {
  value = without_sign(value);
  std::size_t i = 0;
  std::size_t digits = 0;
  for (; i < value.size() && text::is_digit(value[i]); ++i) {
    ++digits;
  }
  if (i < value.size() && value[i] == '.') {
    for (++i; i < value.size() && text::is_digit(value[i]); ++i) {
      ++digits;
    }
  }
  if (digits == 0) {
    return false;
  }
  if (i == value.size()) {
    return true;
  }
  return (value[i] == 'e' || value[i] == 'E') && is_integer(value.substr(i + 1));
}

bool is_below(std::string_view integer, unsigned minimum) noexcept {
  if (integer.front() == '-') {
    return true;
  }
  const auto value = text::to_uint64(without_sign(integer));
  return value && *value < minimum;  // what does not fit is large
}

// pve-common checks the characters only, not that '%' is followed by two digits.
bool is_urlencoded(std::string_view value) noexcept {
  return std::all_of(value.begin(), value.end(), [](char c) {
    return text::is_alnum(c) || std::string_view("-%_.!~*'()").find(c) != std::string_view::npos;
  });
}

bool is_wwn(std::string_view value) noexcept {
  return value.size() == 18 && value.starts_with("0x") && std::all_of(value.begin() + 2, value.end(), [](char c) {
           const char l = text::to_lower(c);
           return text::is_digit(c) || (l >= 'a' && l <= 'f');
         });
}

bool is_word(std::string_view value) noexcept {
  return std::all_of(value.begin(), value.end(),
                     [](char c) { return text::is_alnum(c) || c == '-' || c == '_' || text::is_space(c); });
}

}  // namespace

std::string_view canonical_drive_option(DriveBus bus, std::string_view option) noexcept {
  if (option == "volume") {
    return "file";
  }
  if (has_common_options(bus)) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 4> aliases = {
        {{"bps_rd_length", "bps_rd_max_length"},
         {"bps_wr_length", "bps_wr_max_length"},
         {"iops_rd_length", "iops_rd_max_length"},
         {"iops_wr_length", "iops_wr_max_length"}}};
    for (const auto& [alias, name] : aliases) {
      if (option == alias) {
        return name;
      }
    }
  }
  return option;
}

bool is_known_drive_option(DriveBus bus, std::string_view canonical) noexcept {
  return find_option(bus, canonical) != nullptr;
}

std::optional<std::string> check_drive_option(DriveBus bus, std::string_view canonical, std::string_view value) {
  const Option* option = find_option(bus, canonical);
  if (option == nullptr) {
    return "property is not defined in schema and the schema does not allow additional properties";
  }
  const auto type_error = [value](std::string_view type) {
    return fmt::format("type check ('{}') failed - got '{}'", type, value);
  };
  const auto check_length = [&]() -> std::optional<std::string> {
    if (option->limit != 0 && value.size() > option->limit) {
      return fmt::format("value may only be {} characters long", option->limit);
    }
    return std::nullopt;
  };
  switch (option->kind) {
    case Kind::boolean:
      if (!parse_pve_boolean(value)) {
        return type_error("boolean");
      }
      return std::nullopt;
    case Kind::integer:
      if (!is_integer(value)) {
        return type_error("integer");
      }
      if (option->limit != 0 && is_below(value, option->limit)) {
        return fmt::format("value must have a minimum value of {}", option->limit);
      }
      return std::nullopt;
    case Kind::number:
      if (!is_number(value)) {
        return type_error("number");
      }
      return std::nullopt;
    case Kind::choice: {
      const auto choices = text::split(option->choices, ' ');
      if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
        return fmt::format("value '{}' does not have a value in the enumeration '{}'", value,
                           fmt::join(choices, ", "));
      }
      return std::nullopt;
    }
    case Kind::size:
      if (!parse_drive_size(value)) {
        return fmt::format("invalid format - value does not look like a valid disk size: {}\n", value);
      }
      return std::nullopt;
    case Kind::urlencoded:
      if (!is_urlencoded(value)) {
        return fmt::format("invalid format - invalid urlencoded string: {}\n", value);
      }
      return check_length();
    case Kind::wwn:
      if (!is_wwn(value)) {
        return "value does not match the regex pattern";
      }
      return std::nullopt;
    case Kind::word:
      if (!is_word(value) || (option->limit != 0 && value.size() > option->limit)) {
        return "value does not match the regex pattern";
      }
      return std::nullopt;
    case Kind::string:
      return check_length();
  }
  return std::nullopt;
}

std::optional<std::string> check_drive_volume(DriveBus bus, std::string_view volume) {
  if (bus != DriveBus::unused && (volume == "none" || volume == "cdrom" || volume.starts_with('/'))) {
    return std::nullopt;
  }
  const auto colon = volume.find(':');
  if (colon != std::string_view::npos && colon + 1 < volume.size() &&
      text::is_storage_id(volume.substr(0, colon))) {
    return std::nullopt;
  }
  return fmt::format("invalid format - unable to parse volume ID '{}'\n", volume);
}

}  // namespace crossover
