"""Sessions with the real commands, replayed: the same bytes, the same exit status."""
import json
import time

from pvetest import HERE

PLAIN = "agent: 1\nboot: order=scsi0\nmemory: 512\nname: x\nscsi0: rbd:vm-100-disk-0,size=4G\n"
STORAGE = "rbd: rbd\n\tpool ssdpool\n\n"


def test_basics(node, transcript):
    node.vm(100, PLAIN)
    node.fake_guest(100)
    t = transcript("qm-basics.txt")
    for command in ("qm list", "qm status 100", "qm guest cmd 100 ping", "qm guest cmd 100 fsfreeze-status",
                    "qm guest cmd 100 fsfreeze-freeze", "qm guest cmd 100 fsfreeze-status", "qm guest cmd 100 fsfreeze-thaw",
                    "qm agent 100 ping", "qm guest cmd 100 nosuch", "qm status 100 --verbose", "qm set 100 --lock backup",
                    "qm set 100 --lock backup", "qm shutdown 100", "qm start 100", "qm stop 100",
                    "qm guest cmd 100 fsfreeze-freeze", "qm destroy 100", "qm set 100 --lock migrate --skiplock 1",
                    "qm config 100", "qm unlock 100", "qm start 100", "qm shutdown 100 --timeout 5", "qm status 100",
                    "qm shutdown 100", "qm stop 100"):
        t.step(node, command)
    node.fake_guest(100, "silent")
    t.step(node, "qm guest cmd 100 ping")
    t.step(node, "qm stop 100")
    node.fake_guest(100)
    node.vm(100, node.conf(100).replace("agent: 1", "agent: 0"))
    # The real one exits with 29 here: an accident.
    t.step(node, "qm guest cmd 100 ping", code=2)
    t.step(node, "qm stop 100")
    node.vm(100, PLAIN)
    node.fake_guest(100, "broken")
    t.step(node, "qm guest cmd 100 ping")
    t.step(node, "qm guest cmd 100 fsfreeze-freeze")
    t.step(node, "qm guest cmd 100 fsfreeze-thaw")
    t.step(node, "qm stop 100")
    node.fake_guest(100, "stubborn")
    t.step(node, "qm shutdown 100 --timeout 2")
    t.step(node, "qm shutdown 100 --timeout 2 --forceStop 1")
    node.fake_guest(100, "paused")
    for command in ("qm status 100", "qm shutdown 100", "qm list", "qm stop 100", "qm set 100 --lock foo",
                    "qm set 100 --nosuch 1", "qm set 100 --skiplock 1", "qm unlock 999", "qm frob", "qm set 99"):
        t.step(node, command)


def test_parse_locks_and_pending(node, transcript):
    node.vm(100, "memory: 512\nscsi0: rbd:vm-100-disk-0,size=1G\n")
    node.vm(101, "name: t\ntemplate: 1\n")
    node.vm(102, "name: p\nprotection: 1\n")
    t = transcript("qm-parse-and-tags.txt")
    t.step(node, "qm list")
    t.step(node, "qm start 101")
    t.step(node, "qm destroy 102")
    node.vm(101, "name: t\ntemplate: 1\nlock: backup\n")
    t.step(node, "qm destroy 101")
    t.step(node, "qm set 102 --name bad_name")
    t.step(node, "qm set 102 --scsi0 none")
    t.step(node, "qm set 102 --delete name")
    node.fake_guest(100)
    t.step(node, "qm set 100 --memory 1024")
    assert node.conf(100) == "memory: 512\nscsi0: rbd:vm-100-disk-0,size=1G\n\n[PENDING]\nmemory: 1024\n"
    for command in ("qm config 100", "qm config 100 --current", "qm pending 100", "qm set 100 --lock backup",
                    "qm suspend 100"):
        t.step(node, command)
    assert node.good("qm status 100") == "status: paused\n"
    t.step(node, "qm resume 100")
    assert node.good("qm status 100") == "status: running\n"
    t.step(node, "qm snapshot 100 x")
    t.step(node, "qm unlock 100")
    assert node.conf(100) == "memory: 512\nscsi0: rbd:vm-100-disk-0,size=1G\n\n[PENDING]\nmemory: 1024\n"
    with node.held_lock(100):
        before = time.monotonic()
        t.step(node, "qm set 100 --name zz")
        assert 9 < time.monotonic() - before < 14
    node.vm(103, b"memory: 512\r\nname: crlf\r\n")
    node.vm(104, "name: nonl")
    node.vm(105, "")
    for command in ("qm config 103", "qm config 104", "qm config 105"):
        t.step(node, command)
    node.good("qm stop 100")
    assert node.conf(100) == "memory: 1024\nscsi0: rbd:vm-100-disk-0,size=1G\n", "stopping applies what waited"
    # In the session the guest went down by itself, which does not.
    node.vm(100, "memory: 512\nscsi0: rbd:vm-100-disk-0,size=1G\n\n[PENDING]\nmemory: 1024\n")
    t.step(node, "qm list")


def test_no_quorum(node, transcript):
    """The folder is no pmxcfs, so only what does not write is replayed; the loss is told by .members."""
    node.vm(100, "name: x\n")
    node.write("etc/pve/.members", json.dumps({"nodename": "pve1", "version": 5, "cluster": {
        "name": "lab", "version": 2, "nodes": 2, "quorate": 0}, "nodelist": {"pve1": {"id": 1, "online": 1, "ip": "192.0.2.1"}}}))
    t = transcript("pmxcfs-no-quorum.txt")
    for command in ("qm list", "qm status 100", "qm start 100", "ha-manager status"):
        t.step(node, command)


def test_ha(node, transcript):
    node.vm(100, PLAIN)
    node.fake_guest(100)
    t = transcript("ha-manager.txt")
    for command in ("ha-manager status", "ha-manager add 100", "ha-manager add vm:100", "ha-manager add vm:777"):
        t.step(node, command)
    assert node.read("etc/pve/ha/resources.cfg") == "vm: 100\n\n"
    for command in ("ha-manager status", "ha-manager config", "qm shutdown 100"):
        t.step(node, command)
    assert node.read("etc/pve/ha/crm_commands") == "stop vm:100 60\n"
    t.step(node, "qm status 100")
    t.step(node, "qm stop 100")
    assert node.read("etc/pve/ha/crm_commands") == "stop vm:100 60\nstop vm:100 0\n"
    t.step(node, "qm start 100")
    assert node.read("etc/pve/ha/resources.cfg") == "vm: 100\n\tstate started\n\n"
    t.step(node, "ha-manager set vm:100 --state stopped")
    assert node.read("etc/pve/ha/resources.cfg") == "vm: 100\n\tstate stopped\n\n"
    t.step(node, "ha-manager set vm:100 --state ignored")
    for command in ("qm shutdown 100", "qm status 100", "qm destroy 100", "ha-manager remove 100", "ha-manager remove 100",
                    "ha-manager set 100 --state started"):
        t.step(node, command)
    node.write("etc/pve/nodes/pve2/qemu-server/1005.conf", "name: y\n")
    now = int(time.time())
    node.write("etc/pve/.members", json.dumps({"nodename": "pve1", "version": 5, "cluster": {"name": "lab", "version": 2,
               "nodes": 2, "quorate": 1}, "nodelist": {"pve1": {"id": 1, "online": 1, "ip": "192.0.2.1"},
                                                       "pve2": {"id": 2, "online": 1, "ip": "192.0.2.2"}}}))
    node.write("etc/pve/ha/resources.cfg", "vm: 100\n\tcomment a b\n\tstate started\n\nvm: 1005\n\n")
    node.write("etc/pve/ha/manager_status", json.dumps({"master_node": "pve1", "timestamp": now, "service_status": {
        "vm:100": {"node": "pve1", "state": "started"}, "vm:1005": {"node": "pve2", "state": "deleting"}}}))
    node.write("etc/pve/nodes/pve1/lrm_status", json.dumps({"state": "active", "timestamp": now}))
    node.write("etc/pve/nodes/pve2/lrm_status", json.dumps({"state": "wait_for_agent_lock", "timestamp": now}))
    t.step(node, "ha-manager status")
    node.write("etc/pve/ha/resources.cfg", "")
    node.write("etc/pve/nodes/pve2/qemu-server/101.conf", "name: z\n")
    for command in ("qm status 101", "qm config 101", "qm list", "qm set 100 --tags Prod,web;B-2 prod"):
        t.step(node, command, arguments=command.split(" ", 4) if "tags" in command else None)
    assert "tags: b-2;prod;web\n" in node.conf(100)
    t.step(node, "qm set 100 --tags bad/tag")
    output, code = node.run(["qm", "set", "100", "--description", "a:b 100%\nü"])
    assert (output, code) == ("update VM 100: -description a:b 100%\nü\n", 0)
    assert node.conf(100).startswith("#a%3Ab 100%25\n#%C3%BC\nagent: 1\n")
    for command in ("qm config 100", "qm set 100 --digest 0000 --name q", "qm set 100 --delete tags",
                    "qm set 100 --vmgenid 1"):
        t.step(node, command)
    node.write("etc/pve/nodes/pve1/lxc/102.conf", "arch: amd64\nhostname: c\nlock: backup\nmp0: rbd:vm-102-disk-1,mp=/a,size=1G\n"
               "mp1: rbd:vm-102-disk-2,mp=/b,backup=1,size=1G\nrootfs: rbd:vm-102-disk-0,size=8G\n")
    for command in ("pct list", "pct config 102", "pct unlock 102", "pct unlock 102", "pct status 102"):
        t.step(node, command)


PATHS = """rbd: ceph-ssd
\tpool ssdpool

rbd: kr
\tpool ssdpool
\tkrbd 1

rbd: ns
\tpool ecmeta
\tnamespace nsa

rbd: ext
\tpool rbd2
\tmonhost 10.0.0.1 10.0.0.2:6789,[fd00::1]
\tusername backup

rbd: noauth
\tmonhost 10.0.0.9

rbd: off
\tpool p
\tdisable
"""


def test_paths(node, transcript):
    node.write("etc/pve/storage.cfg", PATHS)
    node.write("etc/pve/ceph.conf", "[global]\n\tfsid = 8f1b9d1e-0c6c-4c2c-9a3b-3d5b8f7a1234\n")
    for name in ("ceph-ssd", "kr", "ns", "ext"):
        node.write(f"etc/pve/priv/ceph/{name}.keyring", "[client.admin]\n")
    t = transcript("pvesm-path.txt")
    assert len(t.steps) == 19
    for command, _, _ in list(t.steps):
        t.step(node, command)
    node.write("etc/pve/priv/ceph/ext.conf", "[global]\n")
    assert node.good("pvesm path ext:vm-100-disk-0").startswith(
        "rbd:rbd2/vm-100-disk-0:conf=/etc/pve/priv/ceph/ext.conf:mon_host=")


JSON_VM = """#hello%3A
agent: 1
boot: order=scsi0
cipassword: secret
cores: 2
ide2: rbd:vm-100-cloudinit,media=cdrom
lock: backup
memory: 2048
name: web
numa: 0
onboot: 1
parent: s1
scsi0: rbd:vm-100-disk-0,discard=on,size=4G
tags: prod;web
vmgenid: 99999999-2222-3333-4444-555555555555

[PENDING]
delete: agent
memory: 4096

[s1]
memory: 2048
snaptime: 1700000001
"""
JSON_STORAGE = ("rbd: rbd\n\tpool ssdpool\n\tcontent images,rootdir\n\tkrbd 0\n\tnodes pve2,pve1\n\n"
                "rbd: ec\n\tpool ecmeta\n\tdata-pool ecdata\n\tkrbd 1\n\n"
                "rbd: off\n\tpool x\n\tdisable\nrbd: nogap\n\tpool y\n")
VOLATILE = ("digest", "pid", "uptime", "running-qemu")


def settled(value):
    """JSON without what differs from run to run, lists and comma strings in a fixed order."""
    if isinstance(value, dict):
        return {key: ",".join(sorted(item.split(","))) if key in ("content", "nodes") and isinstance(item, str) else settled(item)
                for key, item in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return sorted((settled(item) for item in value if not (isinstance(item, dict) and item.get("key") == "digest")),
                      key=lambda item: json.dumps(item, sort_keys=True))
    return value


def test_json(node):
    """Each answer of the API has the keys, values and types of the real one."""
    node.vm(100, JSON_VM)
    node.vm(101, "name: zwei\ntemplate: 1\n")
    node.write("etc/pve/storage.cfg", JSON_STORAGE)
    node.write("etc/pve/ha/resources.cfg", "vm: 100\n\tmax_restart 2\n")
    node.fake_guest(100)
    lines = (HERE / "transcripts/api-json.txt").read_text().splitlines()
    seen = 0
    for title, expected in zip(lines, lines[1:]):
        if not title.startswith("# /") or "content" in title:
            continue
        output, code = node.run(["pvesh", "get", *title[2:].split(), "--output-format", "json"])
        seen += 1
        if expected.startswith("ERR "):
            assert (output, code) == (expected[4:] + "\n", 2)
            continue
        text = [line for line in output.splitlines() if line.startswith(("[", "{"))][-1]
        assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        answer, real = settled(json.loads(text)), settled(json.loads(expected))
        if title == "# /storage":
            # `local` is a default here: what it may hold is not the point.
            answer, real = ([entry for entry in found if entry["storage"] != "local"] for found in (answer, real))
            warnings = [line for line in output.splitlines() if line.startswith("file /etc/pve")]
            assert [line.split(" line ")[0] for line in warnings] == ["file /etc/pve/storage.cfg"] * 2
            assert warnings[0].endswith("(section 'off') - ignore config line: rbd: nogap")
            assert warnings[1].endswith("(section 'off') - unable to parse value of 'pool': duplicate attribute")
        assert answer == real, title
    assert seen == 10
