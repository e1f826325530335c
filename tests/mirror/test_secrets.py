"""No secret of either side is seen by anybody who may look at processes, logs, reports or images: looked for in all of
them, over whole runs of every kind, in processes as often as can be."""

import base64
import contextlib
import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from labtest import SOURCE_USER, USERS
from mirrortest import EAST, HERE, WEST

VMID, TARGET = 187, 99187
NODES = (EAST, "pve02", WEST, "pve05")
CIPASSWORD = "Xq7-cloud-init-pass-9Zk"
WRONG_KEY = "AQBwcm9uZy1rZXktZm9yLXRoaXMtdGVzdC1vbmx5AAA="


class Sampler:
    """Watches all processes of the lab while it is entered."""

    def __init__(self, lab):
        self.lab = lab

    def __enter__(self):
        self.started = time.monotonic()
        self.process = self.lab.start("exec", "lab", "/usr/bin/python3", str(HERE / "process_sampler.py"),
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "looking\n"
        return self

    def __exit__(self, *failure):
        out, _ = self.process.communicate("end\n", timeout=60)
        self.seconds = time.monotonic() - self.started
        if failure[0] is None:
            self.seen = json.loads(out)

    def texts(self):
        return {f"{kind} of a process: {text[:200]!r}": text
                for kind in ("cmdline", "environ") for text in self.seen[kind]}


def private_lines(text):
    """What is secret of a private key in PEM or OpenSSH form; its head and first line are the same for all."""
    return [line for line in text.splitlines() if len(line) > 40 and not line.startswith("-")][1:-1]


@pytest.fixture
def secrets(site):
    """Name -> secret."""
    found = {"cipassword": CIPASSWORD, "wrong key": WRONG_KEY}
    for side in ("east", "west"):
        keyrings = [*Path(site.lab.folder, "ceph", side).glob("*/keyring"),
                    *Path(site.lab.folder, "pmxcfs", side, "tree", "priv").rglob("*.keyring")]
        for keyring in keyrings:
            for key in re.findall(r"key = (\S+)", keyring.read_text()):
                found[f"{side} {keyring.parent.name}/{keyring.name}"] = key
    for node in NODES:
        listed = site.run(node, "sh", "-c", "ls /root/.ssh/id_* /etc/ssh/ssh_host_*_key").split()
        for path in listed:
            if not path.endswith(".pub"):
                for number, line in enumerate(private_lines(site.run(node, "cat", path))):
                    found[f"{node} {path} line {number}"] = line
    kinds = [sum(part in name for name in found) for part in ("mon.a", "osd.0", "crossover", "id_", "ssh_host_")]
    assert all(kinds), found.keys()
    return found


def decoded(value):
    """A text, and whatever base64 holds in the JSON it may be."""
    yield value
    try:
        pending = [json.loads(value)]
    except ValueError:
        return
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, str) and len(item) > 3:
            with contextlib.suppress(ValueError):
                yield base64.b64decode(item, validate=True).decode("latin-1")


def metadata(site):
    return {f"{node} {image} {key}": text for node in (EAST, WEST) for image, state in site.images(node).items()
            for key, value in state["meta"].items() for text in decoded(value)}


def logs(site):
    """All logs and temporary files of the nodes, and the logs of the lab and of Ceph."""
    found = {}
    script = ("import json, os, sys\n"
              "print(json.dumps({os.path.join(folder, name): open(os.path.join(folder, name), 'rb').read(64 << 20).decode('latin-1')"
              " for top in ('/var/log', '/tmp', '/run/log') for folder, _, names in os.walk(top) for name in names"
              " if os.path.isfile(os.path.join(folder, name))}))")
    for node in NODES:
        for path, text in json.loads(site.run(node, "/usr/bin/python3", "-c", script)).items():
            found[f"{node} {path}"] = text
    for path in [*Path(site.lab.folder, "log").iterdir(), *Path(site.lab.folder, "ceph").glob("*/log/*")]:
        found[str(path)] = path.read_text(errors="replace")
    assert any("sshd" in name for name in found), found.keys()
    return found


def leaks(texts, secrets):
    return [f"{name} in {place}" for place, text in texts.items() for name, secret in secrets.items() if secret in text]


def test_sampler_sees_what_is_short(site):
    """Each kind of process the sampler is there for: one that lives for the tenth of a second an `rbd` takes."""
    with Sampler(site.lab) as sampler:
        for node in NODES:
            site.run(node, "sh", "-c", f"sleep 0.1; : argument-{node}")
            site.run(node, "env", f"PLANTED=environment-{node}", "sleep", "0.1")
    assert sampler.seen["looks"] / sampler.seconds > 10, (sampler.seen["looks"], sampler.seconds)
    planted = {f"{kind}-{node}": f"{kind}-{node}" for node in NODES for kind in ("argument", "environment")}
    found = "\n".join(leaks(sampler.texts(), planted))
    assert all(f"{name} in" in found for name in planted), found


def test_metadata_is_looked_into(site):
    value = json.dumps({"version": 1, "config": base64.b64encode(f"cipassword: {CIPASSWORD}\n".encode()).decode()})
    assert leaks({f"text {number}": text for number, text in enumerate(decoded(value))}, {"cipassword": CIPASSWORD})


def test_lesson_15_no_secret_is_seen(site, still, secrets):
    guest = still(VMID, "--ciuser", "admin", "--cipassword", CIPASSWORD, "--ide2", "ceph-ssd:cloudinit",
                  targets=(TARGET,), megabytes=16)
    pair = f"{VMID}:{TARGET}"
    wrong = "/etc/pve/priv/wrong.keyring"
    for node in (EAST, WEST):
        site.run(node, "sh", "-c", 'cat > "$0"', wrong, input=f"[client.crossover]\n\tkey = {WRONG_KEY}\n")
    where = (f"--vmid={pair}", f"--destination={WEST}", "--pool=ceph-ssd", "--jobname=secret")
    runs = {
        "first copy": (0, ("mirror", *where, *USERS, "--debug")),
        "incremental": (0, ("mirror", *where, *USERS, "--debug", "--json")),
        "by stock commands": (0, ("mirror", *where, *USERS, "--debug", "--transport=rbd")),
        "wrong key here": (1, ("mirror", *where, "--source-user=crossover", f"--source-keyring={wrong}", "--debug")),
        "wrong key there": (1, ("mirror", *where, *SOURCE_USER, "--destination-user=crossover",
                                f"--destination-keyring={wrong}", "--debug")),
        "wrong key there, by stock commands": (1, ("mirror", *where, *SOURCE_USER, "--destination-user=crossover",
                                                   f"--destination-keyring={wrong}", "--debug", "--transport=rbd")),
        "verify": (0, ("verify", *where, *USERS, "--json")),
        "check": (0, ("check", *where, *USERS)),
        "dry run": (0, ("mirror", *where, *USERS, "--dry-run", "--json")),
    }
    said = {}
    with Sampler(site.lab) as sampler:
        for name, (status, words) in runs.items():
            site.run(EAST, "rbd", "bench", "--io-type", "write", "--io-size", "4K", "--io-total", "64K", guest.images[0])
            done = site.crossover(*words)
            # A key that is wrong here keeps all of it from being done (4), one over there each guest (1).
            assert done.status in ((0,) if status == 0 else (1, 4)), (name, done)
            said[f"output of {name}"] = done.out + done.err
    assert sampler.seen["looks"] / sampler.seconds > 10, (sampler.seen["looks"], sampler.seconds)
    seen = sampler.texts()
    for program in ("crossover\0agent", "\0mirror\0", "image-meta", "import-diff"):
        assert any(program in text for text in seen.values()), f"{program!r} ran unseen"
    assert f"cipassword: {CIPASSWORD}" in site.config(WEST, TARGET)
    assert any("ciuser: admin" in text for text in metadata(site).values()), "no configuration in metadata"
    for texts in (seen, said, metadata(site), logs(site)):
        assert not leaks(texts, secrets)
