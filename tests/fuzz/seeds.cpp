// seeds FOLDER: writes what the fuzzers begin with, FOLDER/diff_stream/*, FOLDER/agent_protocol/* and
// FOLDER/storage_config/*; configurations of VMs are in tests/data.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <string_view>

#include "unit/stream/recorded_diff.hpp"
#include "unit/stream/recorded_transfer.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

void save(const std::filesystem::path& file, char first, const std::string& stream) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream out(file, std::ios::binary);
  out << first << stream;
  out.close();
  if (!out) {
    std::perror(file.c_str());
    std::exit(1);
  }
}

RecordedDiff diff(DiffFormat format, bool is_full) {
  RecordedDiff out;
  out.format = format;
  if (!is_full) out.head.from_snapshot = "monday";
  out.head.end_snapshot = "tuesday";
  if (format == DiffFormat::v2) out.head.end_protected = true;
  out.head.size_bytes = 1U << 20;
  out.extents = {{0, 5, false, "bytes"}, {5, 4096, true, {}}, {8192, 700, false, std::string(700, 'x')}};
  return out;
}

/// `extents` in a transfer of 8 MiB, and marks between them.
std::string transfer(std::vector<TransferExtent> extents) {
  Transfer out{.size_bytes = 8U << 20, .extents = std::move(extents)};
  std::mt19937_64 random(1);
  fill(out, random);
  return greeting() + render_transfer(out);
}

/// As above, each data extent with three pages out of four of zeroes, the others random or, if `is_soft`, alike.
std::string sparse_transfer(std::vector<TransferExtent> extents, bool is_soft) {
  Transfer out{.size_bytes = 8U << 20, .extents = std::move(extents)};
  std::mt19937_64 random(2);
  fill(out, random);
  for (TransferExtent& extent : out.extents) {
    for (std::size_t at = 0; at < extent.bytes.size(); ++at) {
      if (at / 4096 % 4 != 1)
        extent.bytes[at] = std::byte{0};
      else if (is_soft)
        extent.bytes[at] = std::byte{7};
    }
  }
  return greeting() + render_transfer(out);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::filesystem::path folder = argv[1];
  int number = 0;
  for (const DiffFormat format : {DiffFormat::v1, DiffFormat::v2}) {
    for (const bool is_full : {true, false}) {
      save(folder / "diff_stream" / std::to_string(number++), '\x1f', encode(diff(format, is_full)));
    }
  }
  save(folder / "storage_config" / "all", '#',
       " storages\ndir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup\n\n"
       "rbd: ceph-ssd\n\tcontent images,rootdir\n\tkrbd 0\n\tpool ssdpool\n\tnamespace nsa\n\n"
       "rbd: ext_1.x\n\tcontent images\n\tdisable\n\tmonhost 10.0.0.1;10.0.0.2:6789 [fd00::1]:3300\n\tnodes pve1,pve2\n"
       "\tpool hddpool\n\tdata-pool ecdata\n\tusername backup\nrbd: swallowed\n\tpool other\n");
  // Small pieces and large ones; as they are, and to be repaired.
  for (const char first : {'\x1f', '\x5f', '\x9f', '\xdf'}) {
    const auto save_next = [&](const std::string& stream) {
      save(folder / "agent_protocol" / std::to_string(number++), first, stream);
    };
    save_next(transfer({}));
    save_next(transfer({{0, 300, false, {}}, {300, 4096, true, {}}, {8192, 1, false, {}}}));
    save_next(sparse_transfer({{4096, 20000, false, {}}, {65536, 1000, true, {}}}, false));
    save_next(sparse_transfer({{0, 4U << 20, false, {}}}, true));
    // A frame so large that it is read into its place.
    save_next(transfer({{0, 10, false, {}}, {4096, 100000, false, {}}, {200000, 5000, true, {}}}));
  }
}
