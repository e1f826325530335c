/// \file
/// A hypervisor for what needs none.
#pragma once

#include "crossover/error.hpp"
#include "engine/hypervisor.hpp"

namespace crossover::test {

/// Refuses everything with Error{unsupported}.
class NoHypervisor final : public Hypervisor, public GuestPower {
 public:
  ClusterInventory survey(const SurveyScope&, std::stop_token) override { refuse(); }
  std::optional<ConfigVersion> read_config(const std::string&, std::uint32_t, std::stop_token) override {
    refuse();
  }
  ConfigVersion write_config(const std::string&, std::uint32_t, const std::optional<ConfigVersion>&,
                             const std::string&, std::stop_token) override {
    refuse();
  }
  std::unique_ptr<ConfigHold> hold_config(const std::string&, std::uint32_t, const ConfigVersion&,
                                          const std::string&) override {
    refuse();
  }
  void write_firewall(std::uint32_t, const std::optional<std::string>&, std::stop_token) override { refuse(); }
  std::unique_ptr<GuestHold> hold_guest(HoldWay, const std::string&, std::uint32_t, std::chrono::milliseconds,
                                        std::stop_token) override {
    refuse();
  }
  Power power(const std::string&, std::uint32_t, std::stop_token) override { refuse(); }
  void start(const std::string&, std::uint32_t, std::stop_token) override { refuse(); }
  void shut_down(const std::string&, std::uint32_t, std::chrono::seconds, bool, std::stop_token) override {
    refuse();
  }
  void suspend(const std::string&, std::uint32_t, const std::string&, std::stop_token) override { refuse(); }
  void free_volume(const std::string&, const std::string&, std::stop_token) override { refuse(); }
  bool agent_answers(const std::string&, std::uint32_t, std::stop_token) override { refuse(); }
  void set_ha_state(std::uint32_t, const std::string&, std::stop_token) override { refuse(); }
  void destroy(const std::string&, std::uint32_t, std::stop_token) override { refuse(); }

 private:
  [[noreturn]] static void refuse() { throw Error(ErrorCode::unsupported, "ask", "hypervisor", "there is none"); }
};

}  // namespace crossover::test
