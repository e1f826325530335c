"""Replication of Proxmox VE guests on Ceph between clusters.

A thin door to the C++ library; names and meanings are the library's. ::

    options = crossover.MirrorOptions(vmid="100", destination="pve04", pool="data2", online=True)
    report = crossover.Migrator(options).mirror(on_event=print)

Failures are ``Error``, whose ``code`` says what kind; a run that ``stop`` ended raises ``Cancelled``, which is no Error.
Reports, events and configurations' parts are values that cannot be changed: equal if all their attributes are, hashable,
and good for ``match``.
"""

from . import _crossover
from ._crossover import (
    ByteRange,
    CheckItem,
    CheckReport,
    CleanupReport,
    DiffData,
    DiffHeader,
    DiffStream,
    DiffZero,
    DiskReport,
    Event,
    FormerImage,
    GuestReport,
    KeepWindow,
    LeftOut,
    LeftOutContainer,
    MigrateOptions,
    MigrationReport,
    Migrator,
    MirrorOptions,
    MirrorReport,
    MirrorTotals,
    OptionDescription,
    PointDisk,
    PromotedReplica,
    PrunedReplica,
    PruneOptions,
    PruneReport,
    RecoverOptions,
    RecoverReport,
    RecoveryPoint,
    ReplicaReport,
    Replicas,
    ResumedDisk,
    ResumedPoint,
    RetentionPoint,
    RetentionPolicy,
    Sources,
    VerifiedDisk,
    VerifiedGuest,
    VerifyOptions,
    VerifyReport,
    VmConfig,
    VmConfigEntry,
    VmConfigSection,
    VmConfigWarning,
    migrate_option_list,
    option_list,
    prune_option_list,
    recover_option_list,
    verify_option_list,
)
from ._errors import Cancelled, Error

__version__ = _crossover.__version__

__all__ = [
    "ByteRange",
    "Cancelled",
    "CheckItem",
    "CheckReport",
    "CleanupReport",
    "DiffData",
    "DiffHeader",
    "DiffStream",
    "DiffZero",
    "DiskReport",
    "Error",
    "Event",
    "FormerImage",
    "GuestReport",
    "KeepWindow",
    "LeftOut",
    "LeftOutContainer",
    "MigrateOptions",
    "MigrationReport",
    "Migrator",
    "MirrorOptions",
    "MirrorReport",
    "MirrorTotals",
    "OptionDescription",
    "PointDisk",
    "PromotedReplica",
    "PruneOptions",
    "PruneReport",
    "PrunedReplica",
    "RecoverOptions",
    "RecoverReport",
    "RecoveryPoint",
    "ReplicaReport",
    "Replicas",
    "ResumedDisk",
    "ResumedPoint",
    "RetentionPoint",
    "RetentionPolicy",
    "Sources",
    "VerifiedDisk",
    "VerifiedGuest",
    "VerifyOptions",
    "VerifyReport",
    "VmConfig",
    "VmConfigEntry",
    "VmConfigSection",
    "VmConfigWarning",
    "__version__",
    "migrate_option_list",
    "option_list",
    "prune_option_list",
    "recover_option_list",
    "verify_option_list",
]

# Types say where users find them, not which file they were compiled in.
for _name in __all__:
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = __name__
del _name
