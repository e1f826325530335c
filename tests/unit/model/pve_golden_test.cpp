// Every configuration in tests/data/pve-configs against what Proxmox VE's own parser read in it.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "crossover/drive.hpp"
#include "crossover/vm_config.hpp"
#include "test_data.hpp"

namespace {

using crossover::Drive;
using crossover::VmConfig;
using crossover::VmConfigSection;
using crossover::VmSectionKind;
using nlohmann::json;

struct Golden {
  std::string stem;
  std::uint64_t vmid;
};

std::vector<Golden> golden_files() {
  std::vector<std::string> stems;
  for (const auto& entry : std::filesystem::directory_iterator(CROSSOVER_TEST_DATA "/pve-configs")) {
    if (entry.path().extension() == ".conf") {
      stems.push_back(entry.path().stem().string());
    }
  }
  std::sort(stems.begin(), stems.end());
  std::vector<Golden> result;
  for (const std::string& stem : stems) {
    result.push_back({stem, 99 + std::stoull(stem.substr(0, 2))});
  }
  return result;
}

std::string plain(const json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

/// Whether the line that counts is one PVE 9.2 drops, and that is kept here for the volume it names.
bool is_newer(const VmConfigSection& section, const std::string& key) {
  const auto counts = std::find_if(section.entries.rbegin(), section.entries.rend(),
                                   [&](const auto& entry) { return entry.key == key && !entry.dropped; });
  return counts->newer;
}

json as_json(const VmConfigSection& section) {
  json result = json::object();
  for (const std::string& key : section.keys()) {
    if (!is_newer(section, key)) result[key] = section.get(key).value();
  }
  if (section.description) {
    result["description"] = *section.description;
  }
  return result;
}

json with_strings(const json& object) {
  json result = json::object();
  for (const auto& [key, value] : object.items()) {
    result[key] = plain(value);
  }
  return result;
}

std::vector<std::string> warnings_of(const VmConfig& config, std::uint64_t vmid) {
  std::vector<std::string> result;
  for (const auto& warning : config.warnings()) {
    result.push_back(to_string(warning, vmid));
  }
  return result;
}

json as_json(const Drive& drive, const std::string& bios) {
  json result = {
      {"_cdrom", drive.is_cdrom() ? "1" : "0"},          {"_cloudinit", drive.is_cloudinit() ? "1" : "0"},
      {"_in_backup", drive.in_backup(bios) ? "1" : "0"}, {"file", drive.volume_text()},
      {"index", std::to_string(drive.key().index)},      {"interface", to_string(drive.key().bus)}};
  for (const auto& option : drive.options()) {
    result[option.key] = option.key == "size" ? std::to_string(drive.size_bytes().value()) : option.value;
  }
  return result;
}

}  // namespace

TEST_CASE("every golden configuration reads as PVE reads it") {
  REQUIRE(golden_files().size() >= 6);
  for (const auto& [stem, vmid] : golden_files()) {
    CAPTURE(stem);
    const std::string bytes = crossover::test::read_data("pve-configs/" + stem + ".conf");
    const json expected = json::parse(crossover::test::read_data("pve-configs/" + stem + ".parsed.json"));
    const VmConfig config = crossover::parse_vm_config(bytes);

    CHECK(config.to_bytes() == bytes);
    CHECK(config.digest() == expected["digest"].get<std::string>());
    CHECK(as_json(config.main()) == with_strings(expected["conf"]));
    const auto* pending = config.section(VmSectionKind::pending);
    CHECK((pending != nullptr ? as_json(*pending) : json::object()) == with_strings(expected["pending"]));
    CHECK(config.snapshot_names().size() == expected["snapshots"].size());
    for (const auto& [name, section] : expected["snapshots"].items()) {
      REQUIRE(config.section(VmSectionKind::snapshot, name) != nullptr);
      CHECK(as_json(*config.section(VmSectionKind::snapshot, name)) == with_strings(section));
    }
    for (const auto& [name, section] : expected["special"].items()) {
      REQUIRE(config.section(VmSectionKind::special, name) != nullptr);
      CHECK(as_json(*config.section(VmSectionKind::special, name)) == with_strings(section));
    }
    CHECK(warnings_of(config, vmid) == expected["warnings"].get<std::vector<std::string>>());
  }
}

TEST_CASE("every golden configuration has the drives PVE sees, and they write back as they were") {
  for (const auto& [stem, vmid] : golden_files()) {
    CAPTURE(stem);
    const VmConfig config = crossover::parse_vm_config(crossover::test::read_data("pve-configs/" + stem + ".conf"));
    const json expected = json::parse(crossover::test::read_data("pve-configs/" + stem + ".volumes.json"));
    json volumes = json::object();
    for (const Drive& drive : drives_of(config)) {
      CHECK(drive.text() == config.get(to_string(drive.key())));
      if (is_newer(config.main(), to_string(drive.key()))) continue;
      volumes[to_string(drive.key())] = as_json(drive, config.get("bios").value_or(""));
    }
    json wanted = json::object();
    for (const auto& [key, value] : expected["volumes"].items()) {
      wanted[key] = with_strings(value);
    }
    CHECK(volumes == wanted);
  }
}
