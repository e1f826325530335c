/// \file
/// The source's part of a switch: taking a guest down so that it stays down, and bringing it back as it was.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

#include "engine/ports.hpp"
#include "plan/migration_record.hpp"

namespace crossover {

/// A guest that is moved, where it comes from. Every change is recorded on one of its disks before it is made.
class MigrationSource {
 public:
  /// `record_image` is the disk that tells of the migration. What `ports` refers to has to outlive this object.
  MigrationSource(const Ports& ports, std::uint32_t vmid, std::string node, ImageRef record_image)
      : ports_(ports), vmid_(vmid), node_(std::move(node)), record_image_(std::move(record_image)) {}

  void save(const MigrationRecord& record);
  void forget();

  /// Takes the guest out of high availability's hands, and shuts it down if it runs.
  void shut_down(const MigrationRecord& record, bool running, std::chrono::seconds timeout, bool force,
                 const std::stop_token& stop);
  /// Keeps the stopped guest from being started by anything but a human who means it.
  void fence(const std::stop_token& stop);
  /// That it is fenced, or stopped, right now; a guest that was both stays stopped while it is fenced. Otherwise
  /// ErrorCode::conflict.
  void require_fenced(const std::stop_token& stop);
  void require_stopped(const std::stop_token& stop);
  /// Everything as it was before, but for the record.
  void bring_back(const MigrationRecord& record);

 private:
  [[nodiscard]] std::string subject() const;
  ConfigVersion read(const std::stop_token& stop);

  const Ports& ports_;
  std::uint32_t vmid_;
  std::string node_;
  ImageRef record_image_;
};

}  // namespace crossover
