"""Reports and events, as the library makes them."""

import datetime
import json

import pytest

import crossover
import crossover_test_support

VALUES = {
    "report.hpp": [
        "DiskReport",
        "FormerImage",
        "LeftOut",
        "ResumedDisk",
        "ResumedPoint",
        "MigrationReport",
        "GuestReport",
        "MirrorTotals",
        "MirrorReport",
    ],
    "verify_report.hpp": ["VerifiedDisk", "VerifiedGuest", "VerifyReport"],
    "replica_report.hpp": [
        "PointDisk",
        "RecoveryPoint",
        "PromotedReplica",
        "ReplicaReport",
        "RecoverReport",
        "PrunedReplica",
        "PruneReport",
    ],
    "sources.hpp": ["CleanupReport"],
    "image.hpp": ["ByteRange"],
    "events.hpp": ["Event"],
    "migrator.hpp": ["CheckItem"],
    "vm_config.hpp": ["VmConfigEntry", "VmConfigWarning", "VmConfigSection"],
    "diff_stream.hpp": ["DiffHeader"],
    "retention.hpp": ["KeepWindow", "RetentionPolicy", "RetentionPoint"],
}


@pytest.mark.parametrize("header, name", [(header, name) for header, names in VALUES.items() for name in names])
def test_attributes_are_the_members(members_of, header, name):
    assert set(getattr(crossover, name).__match_args__) == set(members_of(header, name))


def test_every_kind_of_event_is_documented(enumerators_of):
    for kind in enumerators_of("events.hpp", "EventKind"):
        assert f'"{kind}"' in crossover.Event.kind.__doc__


def test_a_report():
    report = crossover_test_support.full_report()
    assert isinstance(report, crossover.MirrorReport)
    assert report.started == datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.timezone.utc)
    assert report.duration == datetime.timedelta(milliseconds=61001)
    guest, empty = report.guests
    assert (guest.outcome, guest.error_code, guest.name) == ("conflict", "in_use", "caf\ufffd")
    assert (empty.outcome, empty.error_code, empty.disks) == ("failed", None, ())
    assert (guest.conflict, empty.conflict) == ("image in use", None)
    assert guest.frozen_for == datetime.timedelta(milliseconds=250)
    assert guest.disks[0].stream_bytes == 5_000_000_000 and guest.disks[0].size_bytes == 1 << 40
    assert guest.left_out[0].is_disk and guest.steps == ("lock", "freeze")
    assert not guest.left_out[0].excluded and report.totals.guests_incomplete == 0
    assert report.totals.guests_failed == 2
    assert [(one.vmid, one.node, one.reason) for one in report.containers] == [
        (105, "pve02", "only VMs are mirrored so far")]


def test_a_migration():
    guest, empty = crossover_test_support.full_report().guests
    assert isinstance(guest.migration, crossover.MigrationReport) and empty.migration is None
    assert (guest.migration.outcome, guest.migration.rounds, guest.migration.switch_bytes) == ("left", 3, 4096)
    assert guest.migration.suspended and guest.migration.state_bytes == 1 << 20
    assert guest.migration.findings == ("VM 100 has a medium in ide2",)
    assert guest.migration.left_to_do == ("run it again",)
    assert guest.migration.shutdown == datetime.timedelta(milliseconds=1500)
    assert guest.migration.downtime == datetime.timedelta(milliseconds=4200)


def test_a_cleanup():
    report = crossover_test_support.full_cleanup_report()
    assert isinstance(report, crossover.CleanupReport)
    assert (report.vmid, report.target_vmid, report.name) == (100, 9100, "caf\ufffd")
    assert (report.outcome, report.error_code) == ("conflict", "conflict")
    assert report.images == ("ssd/vm-100-disk-0", "ssd/vm-100-disk-1")
    assert report.kept == ("ssd/vm-100-disk-7",)
    assert report.duration == datetime.timedelta(milliseconds=1500)


def test_a_comparison():
    report = crossover_test_support.full_verify_report()
    assert isinstance(report, crossover.VerifyReport) and report.seed == 2**64 - 1
    guest, empty = report.guests
    assert (guest.outcome, guest.error_code, empty.outcome, empty.repair) == ("repaired", "io", "failed", None)
    disk, blank = guest.disks
    assert [(part.offset, part.length_bytes) for part in disk.differing] == [(4096, 8192), (1 << 39, 4096)]
    assert blank.is_equal and not disk.is_equal
    assert guest.repair == crossover_test_support.full_report().guests[0]


@pytest.mark.parametrize(
    "make",
    [
        "full_report",
        "full_verify_report",
        "full_replica_report",
        "full_recover_report",
        "full_prune_report",
        "full_cleanup_report",
    ],
)
def test_the_json_says_the_same(make):
    report = getattr(crossover_test_support, make)()

    def check(value, data):
        names = set(type(value).__match_args__)
        if isinstance(value, crossover.GuestReport) and value.migration is None:
            names.remove("migration")  # only a run that migrates says anything of it
        if isinstance(value, crossover.MigrationReport):
            names.add("downtime")
        for name in names:
            attribute = getattr(value, name)
            if isinstance(attribute, datetime.timedelta):
                assert data[f"{name}_ms"] == attribute / datetime.timedelta(milliseconds=1)
            elif isinstance(attribute, datetime.datetime):
                assert data[name] == attribute.strftime("%Y-%m-%dT%H:%M:%SZ")
            elif isinstance(attribute, tuple):
                assert len(data[name]) == len(attribute)
                for item, part in zip(attribute, data[name]):
                    check(item, part) if not isinstance(item, str) else item == part
            elif hasattr(attribute, "__match_args__"):
                check(attribute, data[name])
            else:
                assert data[name] == attribute
        assert {name.removesuffix("_ms") for name in data} - {"version"} == names

    check(report, json.loads(report.to_json()))


def test_reports_are_values():
    report, other = crossover_test_support.full_report(), crossover_test_support.full_report()
    assert report == other and hash(report) == hash(other) and repr(report) == repr(other)
    assert report.guests[0] != report.guests[1]
    assert "error_code='in_use'" in repr(report)
    with pytest.raises(AttributeError):
        report.job = "other"
    with pytest.raises(TypeError):
        crossover.MirrorReport()
