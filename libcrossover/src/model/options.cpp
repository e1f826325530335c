#include "crossover/options.hpp"

#include <array>

namespace crossover {

namespace {

using O = MirrorOptions;

constexpr auto descriptions = std::to_array<OptionDescription>({
    {"vmid", "vmid", &O::vmid, "id[:target],...|all",
     "guests to mirror, each with its VMID on the destination if that differs; or all of the cluster"},
    {"excludevmids", "exclude_vmids", &O::exclude_vmids, "id,...", "guests to leave out"},
    {"tag", "tag", &O::tag, "tag", "only guests with this tag; without --vmid it implies --vmid=all"},
    {"prefixid", "prefix_id", &O::prefix_id, "digits",
     "digits put before each VMID on the destination (99 makes 100 into 99100)"},
    {"destination", "destination", &O::destination, "host", "node of the destination cluster to connect to"},
    {"pool", "pool", &O::pool, "storage", "storage on the destination, by its PVE storage id"},
    {"keeplocal", "keep_local", &O::keep_local, "n[s|m|h|d|w]|rule=n,...",
     "which recovery points stay on the source besides the newest: those as young as that, or by the rules last, "
     "hourly, "
     "daily, weekly and monthly the newest of so many periods"},
    {"keepremote", "keep_remote", &O::keep_remote, "n[s|m|h|d|w]|rule=n,...",
     "which recovery points stay on the destination besides the newest: those as young as that, or by the rules "
     "last, hourly, "
     "daily, weekly and monthly the newest of so many periods"},
    {"rewrite", "rewrite", &O::rewrite, "s/regex/replacement/flags",
     "change the replica's configuration line by line, as sed does; may be given several times"},
    {"jobname", "job_name", &O::job_name, "name",
     "name of the job the recovery points belong to; different jobs do not touch each other's"},
    {"sshcipher", "ssh_cipher", &O::ssh_cipher, "cipher,...", "ciphers to offer, best first"},
    {"ssh", "ssh", &O::ssh, "auto|libssh|openssh",
     "what carries connections to other nodes: libssh, in this process, or the ssh program; auto takes libssh where "
     "it does all that the ssh configuration asks for (no jump host, proxy command, security key or host "
     "certificate)"},
    {"transport", "transport", &O::transport, "auto|agent|rbd|direct",
     "how the destination is driven: by 'crossover agent' there, by its stock commands, or its Ceph directly from "
     "here; auto takes the agent where there is one"},
    {"destination-conf", "destination_conf", &O::destination_conf, "path",
     "ceph.conf on this host that reaches the destination's Ceph, for --transport=direct"},
    {"source-user", "source_user", &O::source_user, "name",
     "cephx user for the source's own Ceph, without 'client.', instead of the one of each storage"},
    {"source-keyring", "source_keyring", &O::source_keyring, "path", "its keyring, on this host"},
    {"destination-user", "destination_user", &O::destination_user, "name",
     "cephx user for the destination's own Ceph, without 'client.', instead of the one of each storage"},
    {"destination-keyring", "destination_keyring", &O::destination_keyring, "path",
     "its keyring, on the destination's node; with --transport=direct on this host"},
    {"parallel", "parallel", &O::parallel, "n", "how many disks are transferred, and guests worked on, at once"},
    {"memory", "memory", &O::memory, "bytes[K|M|G]", "how much content may be under way at once, on each side"},
    {"bwlimit", "bandwidth_limit", &O::bandwidth_limit, "bytes[K|M|G]",
     "bytes a second to send at most, over all transfers together"},
    {"compress", "compress", &O::compress, "auto|zstd|none",
     "whether the agent is sent compressed blocks; auto compresses where it pays and the link is the slower part"},
    {"lock-wait", "lock_wait", &O::lock_wait, "n[s|m|h|d|w]",
     "how long to wait for somebody else's lock on a guest"},
    {"freeze-timeout", "freeze_timeout", &O::freeze_timeout, "n[s|m|h|d|w]",
     "how long a guest may stay frozen or paused before it goes on and its run fails"},
    {"no-agent", "no_agent", &O::no_agent, "pause|crash|fail",
     "what to do with a running guest that cannot be frozen: pause it while its snapshots are made, make them "
     "while it "
     "writes, so that its disks may differ by milliseconds, or fail"},
    {"retries", "retries", &O::retries, "N",
     "how often to try again where a connection breaks or cannot be made, with growing pauses"},
    {"stall-timeout", "stall_timeout", &O::stall_timeout, "n[s|m|h|d|w]",
     "cut a transfer in which nothing moves for so long, longer where --bwlimit needs it, and go on with it; 0s: "
     "never"},
    {"online", "online", &O::online, "", "mirror running guests too"},
    {"require-freeze", "require_freeze", &O::require_freeze, "",
     "a running guest that cannot be frozen fails, as with --no-agent=fail"},
    {"overwrite", "overwrite", &O::overwrite, "",
     "replace a destination guest that no record says is a replica, if its vmgenid is this guest's"},
    {"adopt", "adopt", &O::adopt, "",
     "take over a replica of the shell tool without a new full copy, if the newest snapshot both sides have is "
     "equal "
     "in content; it implies --overwrite"},
    {"discard-changes", "discard_changes", &O::discard_changes, "",
     "where a replica was written to since its newest recovery point, roll it back to that point"},
    {"fast-diff", "fast_diff", &O::fast_diff, "",
     "look for changes byte by byte only where the images' object maps have some, where those are known to tell of "
     "all"},
    {"reseed", "reseed", &O::reseed, "",
     "copy everything anew beside the replica, and move the old images to RBD's trash for 7 days once the new ones "
     "have replaced them; it implies --overwrite"},
    {"all-disks", "all_disks", &O::all_disks, "", "mirror disks with backup=0 too"},
    {"allow-left-out", "allow_left_out", &O::allow_left_out, "",
     "a guest is ok though a disk of it that nobody excluded cannot be replicated, such as one on a local storage; "
     "without it such a guest is incomplete, and the run ends with 1"},
    {"keep-host-devices", "keep_host_devices", &O::keep_host_devices, "",
     "leave passed-through devices in the replica's configuration"},
    {"nolock", "no_lock", &O::no_lock, "", "do not lock the source guest"},
    {"keep-slock", "keep_source_lock", &O::keep_source_lock, "",
     "keep the source guest locked until its transfers are done, not only until its snapshots are made"},
    {"keep-dlock", "keep_destination_lock", &O::keep_destination_lock, "",
     "leave the replica locked after the run"},
    {"accept-new-host-keys", "accept_new_host_keys", &O::accept_new_host_keys, "",
     "record the key of a host met for the first time instead of refusing it"},
    {"dry-run", "dry_run", &O::dry_run, "", "print what would be done and change nothing"},
});

using V = VerifyOptions;

constexpr auto verify_descriptions = std::to_array<VerifyOptionDescription>({
    {"point", "point", &V::point, "snapshot",
     "recovery point to compare, instead of the newest that both sides have"},
    {"sample", "sample", &V::sample, "n%[:seed]",
     "compare only so much of what is allocated, chosen at random; the same seed chooses the same"},
    {"repair", "repair", &V::repair, "",
     "where a point differs, mirror the guest once more and send what differs with it; the bad point is not used "
     "again"},
});

using R = RecoverOptions;

constexpr auto recover_descriptions = std::to_array<RecoverOptionDescription>({
    {"point", "point", &R::point, "snapshot",
     "recovery point to go back to, instead of the newest that is complete and good"},
    {"start", "start", &R::start, "", "start the guest afterwards"},
    {"dry-run", "dry_run", &R::dry_run, "", "print what would be done and change nothing"},
});

using P = PruneOptions;

constexpr auto prune_descriptions = std::to_array<PruneOptionDescription>({
    {"keepremote", "keep_remote", &P::keep_remote, "n[s|m|h|d|w]|rule=n,...",
     "which recovery points stay besides the newest: those as young as that, or by the rules last, hourly, daily, "
     "weekly and monthly the newest of so many periods"},
    {"jobname", "job_name", &P::job_name, "name", "only replicas of this job"},
    {"former-images", "former_images", &P::former_images, "",
     "move images whose disks the guest does not have any more, and that no recovery point needs, to RBD's trash, for "
     "7 days"},
    {"dry-run", "dry_run", &P::dry_run, "", "print what would be removed and change nothing"},
});

using M = MigrateOptions;

constexpr auto migrate_descriptions = std::to_array<MigrateOptionDescription>({
    {"migrate-mode", "mode", &M::mode, "shutdown|suspend",
     "whether a running guest is shut down here and boots there, or its memory is saved here and goes on there"},
    {"precopy-threshold", "precopy_threshold", &M::precopy_threshold, "bytes[K|M|G]",
     "a guest is switched over once a round before that sent no more than this; without it, once a round's "
     "transfer "
     "took no more than 2 s"},
    {"precopy-rounds", "precopy_rounds", &M::precopy_rounds, "N",
     "how many rounds there are at most before a running guest is switched over"},
    {"shutdown-timeout", "shutdown_timeout", &M::shutdown_timeout, "n[s|m|h|d|w]",
     "how long a guest may take to shut down before its migration is undone"},
    {"force-stop", "force_stop", &M::force_stop, "",
     "end a guest that has not shut down by then, or that is paused, as a power cut would"},
    {"no-start", "no_start", &M::no_start, "", "leave the guest off on the destination"},
    {"ha", "ha", &M::ha, "", "give the guest to high availability on the destination (started)"},
    {"drop-cdrom", "drop_cdrom", &M::drop_cdrom, "",
     "migrate a guest with a medium in a CD drive, without the medium"},
});

using A = AllowSourceOptions;

constexpr auto allow_source_descriptions = std::to_array<AllowSourceOptionDescription>({
    {"name", "name", &A::name, "name", "what the source is called here: letters, digits, '-' and '_', at most 32"},
    {"key", "key", &A::key, "path", "file with the source's ssh public key, which nothing else uses"},
    {"pool", "pool", &A::pool, "storage,...", "storages of this cluster the source may send to"},
    {"vmid", "vmid", &A::vmid, "id[-id],...", "VMIDs its replicas may have; no other source's"},
    {"user", "user", &A::user, "name",
     "cephx user for this cluster's own Ceph, without 'client.', instead of the one of each storage; it is made if "
     "there is none, with rights on these storages' pools and nothing else"},
    {"replace", "replace", &A::replace, "", "put the new line in the place of the one the source has"},
    {"dry-run", "dry_run", &A::dry_run, "", "print what would be written and change nothing"},
});

}  // namespace

std::span<const OptionDescription> option_list() {
  return descriptions;
}

std::span<const VerifyOptionDescription> verify_option_list() {
  return verify_descriptions;
}

std::span<const RecoverOptionDescription> recover_option_list() {
  return recover_descriptions;
}

std::span<const PruneOptionDescription> prune_option_list() {
  return prune_descriptions;
}

std::span<const MigrateOptionDescription> migrate_option_list() {
  return migrate_descriptions;
}

std::span<const AllowSourceOptionDescription> allow_source_option_list() {
  return allow_source_descriptions;
}

}  // namespace crossover
