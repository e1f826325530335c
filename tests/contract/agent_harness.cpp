#include "contract/agent_harness.hpp"

#include <utility>

#include "agent/agent_store.hpp"
#include "agent/server.hpp"
#include "contract/memory_harness.hpp"
#include "ssh/local_shell.hpp"
#include "support/no_hypervisor.hpp"
#include "support/one_store.hpp"
#include "support/socket_shell.hpp"

namespace crossover::test {

namespace {

/// A harness whose store is reached through an agent, and everything else as before.
class AgentHarness final : public StoreHarness {
 public:
  AgentHarness(std::string name, std::unique_ptr<StoreHarness> inner, std::shared_ptr<Shell> shell,
               const CephAccess& access)
      : name_(std::move(name)),
        inner_(std::move(inner)),
        store_(std::make_shared<agent::ConnectionPool>(std::move(shell)), access) {}

  [[nodiscard]] std::string name() const override { return name_; }
  ImageStore& store() override { return store_; }
  ImageSpec new_image() override { return inner_->new_image(); }
  void write(const ImageSpec& image, std::uint64_t offset, std::span<const std::byte> bytes) override {
    inner_->write(image, offset, bytes);
  }
  void zero(const ImageSpec& image, std::uint64_t offset, std::uint64_t length_bytes) override {
    inner_->zero(image, offset, length_bytes);
  }
  void discard(const ImageSpec& image, std::uint64_t offset, std::uint64_t length_bytes) override {
    inner_->discard(image, offset, length_bytes);
  }
  void resize(const ImageSpec& image, std::uint64_t size_bytes) override { inner_->resize(image, size_bytes); }
  void protect(const ImageSpec& image, const std::string& snapshot, bool is_protected) override {
    inner_->protect(image, snapshot, is_protected);
  }
  std::chrono::seconds kept_in_trash(const ImageSpec& image, const std::string& id) override {
    return inner_->kept_in_trash(image, id);
  }
  std::vector<std::byte> content(const ImageSpec& image, const std::string& snapshot) override {
    return inner_->content(image, snapshot);
  }

 private:
  std::string name_;
  std::unique_ptr<StoreHarness> inner_;
  AgentStore store_;
};

/// `crossover`, wherever it was built.
class BuiltShell final : public Shell {
 public:
  explicit BuiltShell(std::string folder) : folder_(std::move(folder)) {}
  [[nodiscard]] const std::string& host() const override { return shell_.host(); }
  std::unique_ptr<Process> start(const std::vector<std::string>& argv, std::stop_token stop) override {
    return shell_.start(found(argv), std::move(stop));
  }
  CommandResult run(const std::vector<std::string>& argv, std::string_view input, std::chrono::milliseconds limit,
                    std::stop_token stop) override {
    return shell_.run(found(argv), input, limit, std::move(stop));
  }

 private:
  [[nodiscard]] std::vector<std::string> found(std::vector<std::string> argv) const {
    argv.front() = folder_ + "/" + argv.front();
    return argv;
  }

  std::string folder_;
  LocalShell shell_{"far"};
};

/// A harness behind an agent in this process.
std::unique_ptr<StoreHarness> behind_agent(std::string name, std::unique_ptr<StoreHarness> inner) {
  ImageStore& store = inner->store();
  auto shell = std::make_shared<SocketShell>([&store](int in, int out) {
    NoHypervisor hypervisor;
    OneStore stores(store);
    agent::Server(in, out, {hypervisor, hypervisor, stores}).serve({});
  });
  return std::make_unique<AgentHarness>(std::move(name), std::move(inner), std::move(shell), CephAccess{});
}

}  // namespace

std::unique_ptr<StoreHarness> make_agent_memory_harness() {
  return behind_agent("memory behind an agent", make_memory_harness());
}

std::unique_ptr<StoreHarness> make_agent_librbd_harness(LabCluster& cluster) {
  return behind_agent("librbd behind an agent", make_librbd_harness(cluster));
}

std::unique_ptr<StoreHarness> make_agent_process_harness(LabCluster& cluster, const std::string& folder) {
  return std::make_unique<AgentHarness>("agent", make_librbd_harness(cluster), make_built_shell(folder),
                                        cluster.access());
}

std::shared_ptr<Shell> make_built_shell(const std::string& folder) {
  return std::make_shared<BuiltShell>(folder);
}

}  // namespace crossover::test
