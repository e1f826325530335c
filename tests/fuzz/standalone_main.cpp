// Runs a fuzz target without libFuzzer: over the files it is given, and over random changes of them for some
// seconds.
//   fuzz-vm_config 30 tests/data/pve-configs/*.conf
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void run(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

/// One change: a byte, a piece of another input, a piece removed or doubled, a byte that has a meaning.
std::string mutate(std::string bytes, const std::string& other, std::mt19937_64& random) {
  const auto below = [&random](std::size_t limit) { return limit == 0 ? 0 : random() % limit; };
  static constexpr char special[] = "\n\r\t :=,[]#%/;\"0aA-_";
  const std::size_t at = below(bytes.size() + 1);
  switch (random() % 5) {
    case 0:
      bytes.insert(at, 1, static_cast<char>(random()));
      break;
    case 1:
      bytes.insert(at, 1, special[below(sizeof special)]);
      break;
    case 2:
      bytes.erase(at, below(12));
      break;
    case 3:
      bytes.insert(at, bytes.substr(below(bytes.size() + 1), below(24)));
      break;
    default:
      bytes.insert(at, other.substr(below(other.size() + 1), below(40)));
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  const auto seconds = std::chrono::seconds(argc > 1 ? std::atoi(argv[1]) : 10);
  std::vector<std::string> corpus = {""};
  for (int i = 2; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    corpus.push_back(bytes.str());
    run(corpus.back());
  }
  std::mt19937_64 random(1);
  const auto end = std::chrono::steady_clock::now() + seconds;
  unsigned long runs = 0;
  while (std::chrono::steady_clock::now() < end) {
    std::string bytes = corpus[random() % corpus.size()];
    for (auto changes = 1 + random() % 12; changes > 0; --changes) {
      bytes = mutate(std::move(bytes), corpus[random() % corpus.size()], random);
    }
    run(bytes);
    ++runs;
  }
  std::printf("%lu runs\n", runs);
  return 0;
}
