"""The keys of a VM configuration and what PVE checks of them when it reads a file."""
import re

INTEGER, BOOLEAN, NUMBER, TEXT = "integer", "boolean", "number", "text"

LOCKS = ("backup", "clone", "create", "migrate", "rollback", "snapshot", "snapshot-delete", "suspending", "suspended")

KEYS = {
    **dict.fromkeys(("autostart acpi ciupgrade allow-ksm freeze keephugepages kvm localtime numa onboot protection reboot "
                     "tablet tdf template").split(), BOOLEAN),
    **dict.fromkeys("balloon cores cpuunits migrate_speed shares smp snaptime sockets vcpus".split(), INTEGER),
    **dict.fromkeys("cpulimit migrate_downtime".split(), NUMBER),
    **dict.fromkeys(("affinity agent amd-sev arch args audio0 bios boot bootdisk cicustom cipassword citype ciuser cpu "
                     "description fleecing-images hookscript hotplug hugepages import-working-storage intel-tdx ivshmem "
                     "keyboard lock machine memory meta name nameserver ostype parent rng0 running-nets-host-mtu runningcpu "
                     "runningmachine scsihw searchdomain smbios1 snapstate spice_enhancements sshkeys startdate "
                     "startup tags vga vmgenid vmstate vmstatestorage watchdog").split(), TEXT),
}
NUMBERED = {"hostpci": 16, "ipconfig": 32, "net": 32, "numa": 8, "parallel": 3, "serial": 4, "usb": 14, "virtiofs": 10}
DRIVES = {"ide": 4, "scsi": 31, "virtio": 16, "sata": 6, "efidisk": 1, "tpmstate": 1, "unused": 256}

_THROTTLES = {f"{kind}{suffix}" for kind in ("mbps", "iops", "bps")
              for suffix in ("", "_rd", "_wr", "_max", "_rd_max", "_wr_max", "_max_length", "_rd_max_length", "_wr_max_length")}
_COMMON = {"file", "volume", "media", "cache", "size", "backup", "replicate", "shared", "snapshot", "format", "aio", "discard",
           "detect_zeroes", "serial", "rerror", "werror", "cyls", "heads", "secs", "trans", "import-from"} | _THROTTLES
DRIVE_OPTIONS = {
    "ide": _COMMON | {"model", "ssd", "wwn"},
    "sata": _COMMON | {"ssd", "wwn"},
    "scsi": _COMMON | {"iothread", "queues", "ro", "scsiblock", "ssd", "wwn", "product", "vendor"},
    "virtio": _COMMON | {"iothread", "ro"},
    "efidisk": {"file", "volume", "format", "size", "efitype", "pre-enrolled-keys", "ms-cert", "import-from"},
    "tpmstate": {"file", "volume", "format", "size", "version", "import-from"},
    "unused": {"file", "volume"},
}
DRIVE_BOOLEANS = {"backup", "replicate", "shared", "snapshot", "ssd", "iothread", "ro", "scsiblock", "pre-enrolled-keys"}


def drive_interface(key):
    """The interface of a drive's key (`scsi0` -> `scsi`), or None."""
    match = re.fullmatch(r"([a-z]+)(0|[1-9][0-9]*)", key)
    if match and int(match[2]) < DRIVES.get(match[1], 0):
        return match[1]
    return None


def key_type(key):
    if key in KEYS:
        return KEYS[key]
    match = re.fullmatch(r"([a-z]+)(0|[1-9][0-9]*)", key)
    if match and int(match[2]) < NUMBERED.get(match[1], 0):
        return TEXT
    return TEXT if drive_interface(key) else None
