"""A VM's QEMU: its command line, starting it, talking to it, ending it.

Instead of firmware the guest is booted from the kernel and initrd that node.json names. EFI disk and TPM state are
opened as drives without a device, so that the images are in use as with a real guest. krbd needs a kernel client."""
import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import time

from . import agent, drives, node, storage
from .errors import Die


# Without rdrand the guest waits ten seconds for its first random numbers.
CPUS = {"tcg": "qemu64,+rdrand"}


def pid(vmid):
    """The pid of the VM's QEMU, or 0."""
    pidfile = f"{node.run_dir()}/{vmid}.pid"
    try:
        with open(pidfile, encoding="ascii") as file:
            number = int(file.read())
        with open(f"/proc/{number}/cmdline", "rb") as file:
            arguments = file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0
    return number if os.fsencode(pidfile) in arguments else 0


def memory_mib(conf):
    return int(re.sub(r"^current=", "", str(conf.get("memory", "512"))).split(",")[0])


def cpus(conf):
    return int(conf.get("sockets", conf.get("smp", 1))) * int(conf.get("cores", 1))


class Monitor:
    """QMP, for one short conversation."""

    def __init__(self, vmid, timeout=10.0):
        self.link = socket.socket(socket.AF_UNIX)
        self.data = b""
        try:
            self.set_timeout(timeout)
            self.link.connect(f"{node.run_dir()}/{vmid}.qmp")
            self._message()
            self("qmp_capabilities")
        except BaseException:
            self.link.close()
            raise

    def set_timeout(self, seconds):
        self.link.settimeout(seconds)

    def _message(self):
        while b"\n" not in self.data:
            part = self.link.recv(65536)
            if not part:
                raise ConnectionError("QMP connection closed")
            self.data += part
        line, self.data = self.data.split(b"\n", 1)
        return json.loads(line)

    def __call__(self, execute, **arguments):
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.link.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
        while True:
            message = self._message()
            if "error" in message:
                raise Die(f"qmp command '{execute}' failed - {message['error']['desc']}")
            if "return" in message:
                return message["return"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.link.close()


def qmp(vmid, execute, timeout=10.0, **arguments):
    """One command; Die with PVE's words if QEMU is not there."""
    try:
        with Monitor(vmid, timeout) as monitor:
            return monitor(execute, **arguments)
    except (OSError, ValueError) as error:
        if not pid(vmid):
            raise Die(f"VM {vmid} not running") from None
        raise Die(f"VM {vmid} qmp command '{execute}' failed - unable to connect to VM {vmid} qmp socket - {error}") from None


def state(vmid):
    """What `qm status` shows: QMP's word for it, or stopped."""
    if not pid(vmid):
        return "stopped"
    try:
        return qmp(vmid, "query-status")["status"]
    except Die:
        return "running" if pid(vmid) else "stopped"


def volume_path(key, volid):
    section = storage.usable(storage.split(volid)[0])
    store, name = storage.of(volid)
    if section["type"] == "rbd":
        if storage.on(section, "krbd"):
            raise Die(f"can't map rbd volume {storage.Volume(name).image}: the lab has no kernel RBD client "
                      f"(storage '{store.storage}' has krbd, drive {key})")
        store.activate()
    elif not store.exists(name):
        raise Die(f"volume '{volid}' does not exist")
    return store.path(name, real=True)


def drive_file(key, drive):
    """What QEMU opens for a drive; None for an empty tray."""
    if drive["file"] in ("none", "cdrom"):
        return None
    volid = drives.volume_id(drive)
    return volume_path(key, volid) if volid else drive["file"]


def escape(text):
    return text.replace(",", ",,")


def drive_option(key, drive):
    parts = [f"file={escape(file)}"] if (file := drive_file(key, drive)) else []
    parts += ["if=none", f"id=drive-{key}"]
    if drives.is_cdrom(drive):
        return ",".join(parts + ["media=cdrom"] + (["format=raw"] if file else []))
    cache = drive.get("cache", "none")
    # cache=none is O_DIRECT, which librbd ignores; local files may lie on a tmpfs that knows no O_DIRECT
    if not (file or "").startswith("rbd:") and cache in ("none", "directsync"):
        cache = "writeback"
    parts += [f"format={drive.get('format', 'raw')}", f"cache={cache}"]
    if drive.get("discard") == "on":
        parts.append("discard=unmap")
    parts.append("detect-zeroes=unmap" if drive.get("discard") == "on" else "detect-zeroes=on")
    if drive.get("ro"):
        parts.append("readonly=on")
    for name in ("rerror", "werror"):
        if name in drive:
            parts.append(f"{name}={drive[name]}")
    return ",".join(parts)


def serial(drive):
    return f",serial={escape(drive['serial'])}" if "serial" in drive else ""


class Machine:
    """The command line of a VM, built up device by device: the order of the arguments is the order of the slots."""

    def __init__(self, vmid, conf):
        self.vmid, self.conf, self.args, self.controllers = vmid, conf, [], set()

    def add(self, option, value):
        self.args += [option, value]

    def disks(self):
        for key, drive in drives.each(self.conf):
            interface = re.sub(r"\d+$", "", key)
            self.add("-drive", drive_option(key, drive))
            if interface not in ("efidisk", "tpmstate"):
                getattr(self, f"_{interface}")(key, int(key[len(interface):]), drive)

    def _iothread(self, name, drive):
        if not drive.get("iothread"):
            return ""
        self.add("-object", f"iothread,id=iothread-{name}")
        return f",iothread=iothread-{name}"

    def _scsi(self, key, number, drive):
        model = {"pvscsi": "pvscsi", "lsi": "lsi", "lsi53c810": "lsi53c810", "megasas": "megasas"}.get(
            self.conf.get("scsihw", ""), "virtio-scsi-pci")
        single = self.conf.get("scsihw") == "virtio-scsi-single"
        controller = f"virtioscsi{number}" if single else f"scsihw{number // 31}"
        if controller not in self.controllers:
            self.controllers.add(controller)
            thread = self._iothread(controller, drive) if single else ""
            self.add("-device", f"{model},id={controller}{thread}")
        device = "scsi-cd" if drives.is_cdrom(drive) else "scsi-hd"
        target = 0 if single else number
        lun = number if single else 0
        self.add("-device", f"{device},bus={controller}.0,channel=0,scsi-id={target},lun={lun},"
                            f"drive=drive-{key},id={key}{serial(drive)}")

    def _virtio(self, key, _, drive):
        thread = self._iothread(key, drive)
        self.add("-device", f"virtio-blk-pci,drive=drive-{key},id={key}{thread}{serial(drive)}")

    def _ide(self, key, number, drive):
        device = "ide-cd" if drives.is_cdrom(drive) else "ide-hd"
        q35 = "q35" in self.conf.get("machine", "")
        place = f"bus=ide.{number}" if q35 else f"bus=ide.{number // 2},unit={number % 2}"
        self.add("-device", f"{device},{place},drive=drive-{key},id={key}{serial(drive)}")

    def _sata(self, key, number, drive):
        if "ahci0" not in self.controllers:
            self.controllers.add("ahci0")
            self.add("-device", "ahci,id=ahci0")
        device = "ide-cd" if drives.is_cdrom(drive) else "ide-hd"
        self.add("-device", f"{device},bus=ahci0.{number},drive=drive-{key},id={key}{serial(drive)}")

    def agent(self):
        if agent.enabled(self.conf):
            self.add("-chardev", f"socket,path={node.run_dir()}/{self.vmid}.qga,server=on,wait=off,id=qga0")
            self.add("-device", "virtio-serial-pci,id=qga0")
            self.add("-device", "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0")

    def nics(self):
        """Cards on an unconnected hub: the lab's guests have no network."""
        for key in sorted(name for name in self.conf if re.fullmatch(r"net\d+", name)):
            model, _, mac = str(self.conf[key]).split(",")[0].partition("=")
            model = {"virtio": "virtio-net-pci"}.get(model, model)
            self.add("-netdev", f"hubport,id={key},hubid={key[3:]}")
            self.add("-device", f"{model},netdev={key},id={key},romfile=" + (f",mac={mac}" if mac else ""))

    def command(self):
        run, vmid, conf = node.run_dir(), self.vmid, self.conf
        settings = node.settings()
        if not settings.get("guest_kernel"):
            raise Die("no guest_kernel in /etc/crossover-lab/node.json")
        accel = settings.get("accel", "tcg")
        # Versions of Proxmox's machines are not this QEMU's, except where it has recorded one itself.
        machine = conf.get("runningmachine") or ("q35" if "q35" in conf.get("machine", "") else "pc")
        self.args = [
            "/usr/bin/qemu-system-x86_64", "-name", f"guest={escape(conf.get('name', f'VM {vmid}'))}", "-no-user-config",
            "-nodefaults", "-display", "none", "-accel", accel, "-cpu", CPUS.get(accel, "host"), "-machine", machine,
            "-m", str(memory_mib(conf)), "-smp", str(cpus(conf)),
            "-kernel", settings["guest_kernel"], "-initrd", settings["guest_initrd"],
            # An emulated processor takes seconds for what the kernel tests of itself and guards against.
            "-append", "console=ttyS0 panic=-1 quiet cryptomgr.notests mitigations=off",
            "-chardev", f"socket,id=qmp,path={run}/{vmid}.qmp,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
            "-pidfile", f"{run}/{vmid}.pid", "-chardev", f"file,id=console,path={run}/{vmid}.console.log,append=on",
            "-serial", "chardev:console"]
        match = re.search(r"uuid=([0-9a-fA-F-]{36})", conf.get("smbios1", ""))
        if match:
            self.add("-uuid", match[1])
        if re.fullmatch(r"[0-9a-fA-F-]{36}", conf.get("vmgenid", "")):
            self.add("-device", f"vmgenid,guid={conf['vmgenid']}")
        if str(conf.get("balloon", "1")) != "0":
            self.add("-device", "virtio-balloon-pci,id=balloon0")
        self.disks()
        self.agent()
        self.nics()
        self.args += shlex.split(conf.get("args", ""))
        return self.args


def start_timeout(conf):
    """max(30 s, RAM in GiB) and 5 s for each network card."""
    return max(30, memory_mib(conf) // 1024) + 5 * sum(bool(re.fullmatch(r"net\d+", key)) for key in conf)


def launch(vmid, conf, timeout=None, extra=()):
    """Starts QEMU in a session of its own and waits until it answers. Its messages go to ID.log."""
    for name in ("qmp", "qga"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{node.run_dir()}/{vmid}.{name}")
    command = Machine(vmid, conf).command() + list(extra)
    log = f"{node.run_dir()}/{vmid}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                                   cwd="/")
    deadline = time.monotonic() + (timeout or start_timeout(conf))
    while True:
        if process.poll() is not None:
            with open(log, encoding="utf-8", errors="replace") as file:
                text = file.read().strip().replace("qemu-system-x86_64:", "kvm:")
            raise Die(f"{text}\nstart failed: QEMU exited with code {process.returncode}".lstrip())
        try:
            with Monitor(vmid, max(0.1, min(1.0, deadline - time.monotonic()))) as monitor:
                state = monitor("query-status")["status"]
            open(cleanup_flag(vmid), "wb").close()
            watch(vmid, process.pid)
            return state
        except (OSError, ValueError):
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise Die("start failed: command '/usr/bin/kvm -id "
                          f"{vmid}' failed: got timeout") from None
            time.sleep(0.03)


def said(vmid):
    """The last line of its messages."""
    with open(f"{node.run_dir()}/{vmid}.log", encoding="utf-8", errors="replace") as file:
        return (file.read().strip().splitlines() or [""])[-1].replace("qemu-system-x86_64:", "kvm:")


def wait_end(vmid, seconds):
    """True when QEMU is gone within that time."""
    deadline = time.monotonic() + seconds
    while pid(vmid):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def kill(vmid, number):
    current = pid(vmid)
    if current:
        with contextlib.suppress(ProcessLookupError):
            os.kill(current, number)


def terminate(vmid):
    """SIGTERM, ten seconds, SIGKILL."""
    kill(vmid, signal.SIGTERM)
    if not wait_end(vmid, 10):
        os.write(2, b"VM still running - terminating now with SIGKILL\n")
        kill(vmid, signal.SIGKILL)
        wait_end(vmid, 10)


def cleanup_flag(vmid):
    return f"{node.run_dir()}/{vmid}.cleanup"


def cleanup_is_due(vmid):
    return os.path.exists(cleanup_flag(vmid))


def watch(vmid, process):
    """qmeventd's part, which hears of each QEMU that ends: a process of its own for each."""
    program = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "bin", "qmeventd")
    subprocess.Popen([program, str(vmid), str(process)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL, start_new_session=True, cwd="/")


def tidy(vmid):
    """What is done once QEMU has ended, by who ended it or by `qm cleanup`."""
    for name in ("cleanup", "pid", "qmp", "qga"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{node.run_dir()}/{vmid}.{name}")


def cloudinit(vmid, conf):
    """The cloud-init volume is written at every start and allocated (4 MiB) if missing, if it carries this VMID.

    No ISO is made: the volume gets the settings as text, which is enough to tell that it was written."""
    for key, drive in drives.each(conf):
        volid = drives.volume_id(drive)
        if not volid or not drives.is_cloudinit(drive) or not re.search(rf"[:/]vm-{vmid}-cloudinit", volid):
            continue
        print("generating cloud-init ISO", flush=True)
        store, name = storage.of(volid)
        storage.usable(store.storage)
        if not store.exists(name):
            store.create(name, 4 << 20)
        settings = "".join(f"{item}: {conf[item]}\n" for item in sorted(conf)
                           if item in ("name", "ciuser", "nameserver", "searchdomain") or item.startswith("ipconfig"))
        with tempfile.NamedTemporaryFile() as file:
            file.write(f"cidata\n{settings}".encode().ljust(4 << 20, b"\0"))
            file.flush()
            done = subprocess.run(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", file.name,
                                   volume_path(key, volid)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Die(done.stderr.strip())
