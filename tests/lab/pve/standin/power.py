"""qm start, stop, shutdown, reboot, reset, suspend, resume, and the same for callers that are HA or the boot."""
import sys

from . import agent, drives, edit, guests, ha, node, qemu, saved_state, storage
from .errors import Die


def apply_pending(vmid, config):
    """What `qm set` left in [PENDING] while the guest ran: at a start (but not from a saved state), and when `qm
    shutdown` or `qm stop` ended it, not when it was off by itself (qemu-server's vm_stop_cleanup)."""
    if config.pending:
        edit.apply_pending(vmid, config)
        guests.save(vmid, config)


def start(vmid, skiplock=0, timeout=None, machine=None, **_):
    if not node.has_quorum():
        raise Die("cluster not ready - no quorum?")
    guests.load(vmid, warn=False)
    if ha.managed(vmid):
        ha.set_state(ha.sid(vmid), "started")
        print(f"Requesting HA start for VM {vmid}")
        return
    start_here(vmid, skiplock, timeout)


def start_here(vmid, skiplock=0, timeout=None):
    with guests.lock(vmid):
        config = guests.load(vmid)
        if guests.is_template(config):
            raise Die("you can't start a vm if it's a template")
        running = bool(qemu.pid(vmid))
        if running and config.main.get("lock") == "backup":
            # A backup runs: its guest is resumed rather than refused.
            qemu.qmp(vmid, "cont")
            return
        if not skiplock:
            guests.check_lock(config, "suspended")
        if running:
            raise Die(f"VM {vmid} already running")
        if not config.main.get("vmstate"):
            apply_pending(vmid, config)
        for _, drive in drives.each(config.main):
            if volid := drives.volume_id(drive):
                storage.usable(storage.split(volid)[0])
        qemu.cloudinit(vmid, config.main)
        state = config.main.get("vmstate")
        qemu.launch(vmid, config.main, timeout, saved_state.incoming(state) if state else ())
        if state:
            saved_state.finish_load(vmid, timeout)
            saved_state.forget(vmid, config)


def _down(vmid, config, shutdown, force, timeout):
    """PVE::QemuServer::_do_vm_stop: ask, wait, and with force SIGTERM, ten seconds, SIGKILL."""
    try:
        if not shutdown:
            qemu.qmp(vmid, "quit")
        elif agent.enabled(config.main) and agent.answers(vmid):
            agent.command(vmid, "shutdown")
        else:
            qemu.qmp(vmid, "system_powerdown")
    except Die:
        if not qemu.pid(vmid):
            qemu.tidy(vmid)
            return
        if not force:
            raise Die("VM quit/powerdown failed") from None
        sys.stderr.write("VM quit/powerdown failed - terminating now with SIGTERM\n")
        qemu.terminate(vmid)
        qemu.tidy(vmid)
        return
    if not qemu.wait_end(vmid, 60 if timeout is None else timeout):
        if not force:
            raise Die("VM quit/powerdown failed - got timeout")
        sys.stderr.write("VM still running - terminating now with SIGTERM\n")
        sys.stderr.flush()
        qemu.terminate(vmid)
    qemu.tidy(vmid)


def stop_here(vmid, skiplock=0, timeout=None, shutdown=False, force=True):
    with guests.lock(vmid):
        if not qemu.pid(vmid):
            return
        config = guests.load(vmid)
        if not skiplock:
            guests.check_lock(config)
        if timeout is None and shutdown:
            timeout = down_timeout(config.main)
        _down(vmid, config, shutdown, force, timeout)
        apply_pending(vmid, guests.load(vmid, warn=False))


def down_timeout(conf):
    for part in str(conf.get("startup", "")).split(","):
        name, _, value = part.partition("=")
        if name == "down" and value.isdigit():
            return int(value)
    return None


def stop(vmid, skiplock=0, timeout=None, keepActive=0, **_):
    guests.load(vmid, warn=False)
    if ha.managed(vmid):
        ha.queue(f"stop {ha.sid(vmid)} 0")
        print(f"Requesting HA stop for VM {vmid}")
        return
    stop_here(vmid, skiplock, timeout)


def shutdown(vmid, skiplock=0, timeout=None, forceStop=0, keepActive=0):
    guests.load(vmid, warn=False)
    by_force = False
    try:
        paused = qemu.qmp(vmid, "query-status")["status"] in ("paused", "prelaunch")
    except Die as error:
        sys.stderr.write(f"{error}\n\n")
        paused = False
    if paused:
        if not forceStop:
            raise Die("VM is paused - cannot shutdown", 29)
        sys.stderr.write("VM is paused - stop instead of shutdown\n")
        by_force = True
    if ha.managed(vmid):
        ha.queue(f"stop {ha.sid(vmid)} {60 if timeout is None else timeout}")
        print(f"Requesting HA stop for VM {vmid}")
        return
    stop_here(vmid, skiplock, timeout, shutdown=not by_force, force=bool(forceStop))


def reboot(vmid, timeout=None):
    guests.load(vmid, warn=False)
    if not qemu.pid(vmid):
        raise Die(f"VM {vmid} not running")
    stop_here(vmid, timeout=timeout, shutdown=True, force=False)
    start_here(vmid)


def reset(vmid, skiplock=0):
    with guests.lock(vmid):
        config = guests.load(vmid)
        if not skiplock:
            guests.check_lock(config)
        qemu.qmp(vmid, "system_reset")


def suspend(vmid, skiplock=0, todisk=0, statestorage=None):
    guests.load(vmid, warn=False)
    if not qemu.pid(vmid):
        raise Die(f"VM {vmid} not running")
    if todisk:
        # qemu-server's vm_suspend: HA would start again what is off.
        if ha.managed(vmid):
            raise Die("Cannot suspend HA managed VM to disk")
        saved_state.suspend(vmid, statestorage, skiplock)
        return
    with guests.lock(vmid):
        config = guests.load(vmid)
        if not skiplock:
            guests.check_lock(config, "backup")
        qemu.qmp(vmid, "stop")


def resume(vmid, skiplock=0, nocheck=0):
    """A guest suspended to disk is started."""
    if guests.load(vmid, warn=False).main.get("lock") == "suspended":
        start_here(vmid, skiplock)
        return
    with guests.lock(vmid):
        config = guests.load(vmid)
        if not skiplock:
            guests.check_lock(config, "backup")
        state = qemu.qmp(vmid, "query-status")["status"]
        qemu.qmp(vmid, "system_wakeup" if state == "suspended" else "cont")
