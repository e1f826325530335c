"""Suspend to disk: RAM and devices in a volume vm-ID-state-suspend-DATE.

Proxmox's QEMU saves with savevm-start while the guest runs; this one migrates to a file, which also stops the guest for
the last part only, and the file is then copied into the volume."""
import os
import shlex
import shutil
import subprocess
import tempfile
import time

from . import drives, guests, node, qemu, storage
from .errors import Die

# Where the stream starts in the volume; its length stands before it, so that no more is loaded than was saved.
HEADER = 4096


def state_storage(conf, chosen):
    """The option, else vmstatestorage, else the storage of the first disk."""
    if chosen or conf.get("vmstatestorage"):
        return chosen or conf["vmstatestorage"]
    for _, drive in drives.each(conf):
        volid = drives.volume_id(drive)
        if volid and not drives.is_cdrom(drive):
            return storage.split(volid)[0]
    return "local"


def suspend(vmid, chosen, skiplock):
    with guests.lock(vmid):
        config = guests.load(vmid)
        if not skiplock:
            guests.check_lock(config)
        for key in config.main:
            # What its memory cannot be saved with, in qemu-server's check; USB devices are not among it.
            if key.startswith(("hostpci", "virtiofs")) or key in ("amd-sev", "intel-tdx"):
                raise Die(f"cannot suspend VM to disk due to passed-through device: {key}")
        before = dict(config.main)
        config.main["lock"] = "suspending"
        target = state_storage(config.main, chosen)
        day = time.strftime("%Y-%m-%d")
        volid = storage.allocate(target, vmid, 2 * (qemu.memory_mib(config.main) << 20) + (500 << 20),
                                 f"vm-{vmid}-state-suspend-{day}")
        config.main.update(vmstate=volid, runningmachine=running_machine(vmid), runningcpu="kvm64,enforce")
        guests.save(vmid, config)
    try:
        save(vmid, volid)
    except Die:
        with guests.lock(vmid):
            if qemu.pid(vmid):
                qemu.qmp(vmid, "cont")
            config = guests.load(vmid)
            free(volid)
            config.main = {**{key: value for key, value in config.main.items()
                              if key not in ("vmstate", "runningmachine", "runningcpu")},
                           **{key: before[key] for key in ("runningmachine", "runningcpu") if key in before}}
            guests.save(vmid, config)
        raise
    with guests.lock(vmid):
        qemu.qmp(vmid, "quit")
        if not qemu.wait_end(vmid, 30):
            qemu.terminate(vmid)
        qemu.tidy(vmid)
        config = guests.load(vmid)
        config.main["lock"] = "suspended"
        guests.save(vmid, config)


def running_machine(vmid):
    """The versioned machine type, as PVE records it."""
    qom_type = qemu.qmp(vmid, "qom-get", path="/machine", property="type")
    return qom_type.removesuffix("-machine")


def save(vmid, volid):
    """Migrates to a file of this node, then copies that, behind a header, into the volume."""
    with tempfile.TemporaryDirectory(dir=node.run_dir()) as folder:
        stream, image = f"{folder}/state", f"{folder}/volume"
        try:
            with qemu.Monitor(vmid, 30) as monitor:
                monitor("migrate-set-parameters", max_bandwidth=1 << 40)
                monitor("migrate", uri=f"exec:cat > {shlex.quote(stream)}")
                while (state := monitor("query-migrate").get("status")) != "completed":
                    if state in ("failed", "cancelled"):
                        raise Die(f"unable to save VM state and RAM - migration {state}")
                    time.sleep(0.1)
        except OSError as error:
            raise Die(f"unable to save VM state and RAM - {error}") from None
        with open(stream, "rb") as source, open(image, "wb") as target:
            target.write(b"crossover-lab-state %020d" % os.path.getsize(stream))
            target.seek(HEADER)
            shutil.copyfileobj(source, target, 1 << 20)
            target.truncate(-(-target.tell() // 512) * 512)
        store, name = storage.of(volid)
        copy(image, store.path(name, real=True), "-n")


def copy(source, target, *options):
    done = subprocess.run(["qemu-img", "convert", *options, "-f", "raw", "-O", "raw", source, target],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise Die(f"copying the saved state failed: {done.stderr.strip()}")


def incoming(volid):
    """Options that make QEMU wait for the saved state."""
    store, name = storage.of(volid)
    store.size(name)
    return ("-incoming", "defer")


def finish_load(vmid, timeout=None):
    """Fetches the state from the volume and lets the guest go on."""
    config = guests.load(vmid, warn=False)
    store, name = storage.of(config.main["vmstate"])
    with tempfile.TemporaryDirectory(dir=node.run_dir()) as folder:
        raw, stream = f"{folder}/volume", f"{folder}/state"
        copy(store.path(name, real=True), raw)
        with open(raw, "rb") as volume, open(stream, "wb") as file:
            length = int(volume.read(40).split()[-1])
            volume.seek(HEADER)
            while length > 0 and (data := volume.read(min(length, 1 << 20))):
                file.write(data)
                length -= len(data)
        try:
            with qemu.Monitor(vmid, 60) as monitor:
                monitor("migrate-incoming", uri=f"exec:cat {shlex.quote(stream)}")
                deadline = time.monotonic() + max(60, timeout or 0)
                while (state := monitor("query-migrate").get("status")) != "completed":
                    if state == "failed" or time.monotonic() > deadline:
                        raise Die(f"loading the saved state failed ({state})")
                    time.sleep(0.1)
                monitor("cont")
        except (OSError, Die) as error:
            # Proxmox's QEMU loads while it starts, and ends if it cannot.
            qemu.terminate(vmid)
            qemu.tidy(vmid)
            said = qemu.said(vmid) or str(error)
            raise Die(f"start failed: QEMU exited with code 1: {said}") from None


def free(volid):
    store, name = storage.of(volid)
    store.free(name)


def forget(vmid, config):
    """After a start from it: the volume is freed, lock and keys go."""
    free(config.main["vmstate"])
    for key in ("vmstate", "runningmachine", "runningcpu", "running-nets-host-mtu"):
        config.main.pop(key, None)
    if config.main.get("lock") == "suspended":
        del config.main["lock"]
    guests.save(vmid, config)
