#include "commands.hpp"

#include "crossover/error.hpp"

namespace crossover::test {

namespace {

using Options = std::function<void(MirrorOptions&)>;

template <typename Report>
Done done_of(const Report& report) {
  if (report.outcome == Outcome::ok) return {Done::How::ok, ""};
  // What a restricted agent lets nobody do is said as clearly.
  if (report.outcome == Outcome::conflict || report.error_code == ErrorCode::permission) {
    return {Done::How::conflict, report.error};
  }
  return {report.error_code == ErrorCode::locked ? Done::How::locked : Done::How::failed, report.error};
}

Command mirror(const std::string& name, const std::vector<Begin>& begins, bool back, const Options& options) {
  return {name, begins, [=](World& world) {
            return world.command(options, back, [&] { return done_of(world.clusters.run().guests.at(0)); });
          }};
}

Command migrate(const std::string& name, const std::vector<Begin>& begins, bool back, const Options& options,
                bool no_start = false) {
  return {name, begins, [=](World& world) {
            return world.command(options, back, [&] {
              world.clusters.migration.no_start = no_start;
              const GuestReport report = world.clusters.migrate().guests.at(0);
              Done done = done_of(report);
              for (const std::string& left : report.migration->left_to_do) done.error += "; to do: " + left;
              return done;
            });
          }};
}

Command recover(const std::string& name, std::size_t from_newest) {
  Command command{name, {Begin::mirrored, Begin::damaged, Begin::foreign, Begin::migrated}, [=](World& world) {
            return world.command([](MirrorOptions&) {}, false, [&] {
              std::string point;
              const auto points = world.clusters.points(99100).points;
              if (from_newest < points.size()) point = points[from_newest].name;
              return done_of(world.clusters.recover(99100, {.point = point}));
            });
          }};
  command.recovers = true;
  return command;
}

Done verify(World& world) {
  return world.command([](MirrorOptions& options) { options.online = true; }, false, [&] {
    const auto guest = world.clusters.verify({.repair = true}).guests.at(0);
    if (guest.outcome == VerifyOutcome::failed) {
      return Done{guest.error_code == ErrorCode::locked      ? Done::How::locked
                  : guest.error_code == ErrorCode::not_found ? Done::How::conflict
                                                             : Done::How::failed,
                  guest.error};
    }
    return Done{Done::How::ok, ""};
  });
}

}  // namespace

std::vector<Command> commands() {
  const std::vector<Begin> here{Begin::mirrored, Begin::damaged, Begin::foreign};
  const std::vector<Begin> mirrored{Begin::mirrored};
  const std::vector<Begin> there{Begin::migrated};
  const std::vector<Begin> foreign{Begin::foreign};
  const std::vector<Begin> all{Begin::mirrored, Begin::damaged, Begin::migrated, Begin::foreign};
  const auto next_link = [](MirrorOptions& options) {
    options.job_name = "next";
    options.vmid = "99100:555";
  };
  std::vector<Command> commands{
      mirror("mirror", all, false, [](MirrorOptions&) {}),
      mirror("mirror another job", here, false,
             [](MirrorOptions& options) {
               options.job_name = "other";
               options.prefix_id.clear();
               options.vmid = "100:99300";
             }),
      mirror("mirror the next link", all, true, next_link),
      // Nothing else keeps it from what is being written then.
      mirror("mirror the next link without a lock", mirrored, true,
             [=](MirrorOptions& options) {
               next_link(options);
               options.no_lock = true;
             }),
      mirror("mirror back", there, true, [](MirrorOptions& options) { options.job_name = "home"; }),
      migrate("migrate", mirrored, false, [](MirrorOptions&) {}),
      migrate("migrate elsewhere", mirrored, false,
              [](MirrorOptions& options) {
                options.job_name = "elsewhere";
                options.prefix_id.clear();
                options.vmid = "100:99200";
              }),
      migrate("migrate back", there, true, [](MirrorOptions& options) { options.job_name = "home"; }),
      migrate("migrate back, and leave it off", there, true, [](MirrorOptions& options) { options.job_name = "home"; },
              true),
      mirror("adopt", foreign, false, [](MirrorOptions& options) { options.adopt = true; }),
      recover("recover the newest", 0),
      recover("recover an older one", 1),
      {"verify --repair", here, verify},
      {"cleanup-source", there,
       [](World& world) {
         return world.command([](MirrorOptions&) {}, false, [&] { return done_of(world.clusters.clean_up(100)); });
       }},
  };
  Command retention = mirror("mirror that keeps one", here, false, [](MirrorOptions& options) {
    options.keep_local = "0s";
    options.keep_remote = "0s";
  });
  retention.removes = true;
  commands.push_back(retention);
  // What it receives is held by one process after the other.
  commands.push_back({"mirror through a restricted agent", all, [](World& world) {
                        return world.command([](MirrorOptions&) {}, false, [&] {
                          world.clusters.restriction = parse_restriction("copy", "99000-99999");
                          return done_of(world.clusters.run().guests.at(0));
                        });
                      }});
  Command prune{"prune", all, [](World& world) {
                  return world.command([](MirrorOptions&) {}, false, [&] {
                    return done_of(world.clusters.prune("99100", {.keep_remote = "0s"}).replicas.at(0));
                  });
                }};
  prune.removes = true;
  commands.push_back(prune);
  Command reseed = mirror("reseed", mirrored, false, [](MirrorOptions& options) { options.reseed = true; });
  reseed.reseeds = true;
  commands.push_back(reseed);
  return commands;
}

}  // namespace crossover::test
