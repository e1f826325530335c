#!/usr/bin/python3
"""A guest for tests that need no QEMU: speaks just enough QMP and agent protocol.

usage: fake_qemu.py RUN_DIR VMID MODE_FILE -pidfile PATH
The mode file holds words: silent (the agent does not answer), broken (it answers with errors), stubborn (no shutdown),
paused, immortal (SIGTERM is ignored), unsaveable (its state cannot be saved)."""
import json
import os
import signal
import socket
import sys
import threading

RUN, VMID, MODE_FILE, PIDFILE = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[5]


def mode():
    with open(MODE_FILE, encoding="ascii") as file:
        return file.read().split()


class Guest:
    def __init__(self):
        self.frozen = False
        self.status = "paused" if "paused" in mode() else "running"

    def end(self):
        for name in ("pid", "qmp", "qga"):
            try:
                os.unlink(f"{RUN}/{VMID}.{name}")
            except FileNotFoundError:
                pass
        os._exit(0)

    def qmp(self, link):
        lines = link.makefile("r", encoding="utf-8")

        def send(message):
            link.sendall(json.dumps(message).encode() + b"\n")
        send({"QMP": {}})
        for line in lines:
            request = json.loads(line)
            command = request["execute"]
            if command == "migrate":
                with open(request["arguments"]["uri"].removeprefix("exec:cat > "), "wb") as state:
                    state.write(b"its memory")
            answers = {"query-migrate": {"status": "failed" if "unsaveable" in mode() else "completed"},
                       "qom-get": "pc-i440fx-9.2-machine",
                       "query-status": {"status": self.status}, "query-balloon": {"actual": 512 << 20},
                       "query-memory-size-summary": {"base-memory": 512 << 20},
                       "query-version": {"qemu": {"major": 9, "minor": 2, "micro": 0}},
                       "query-machines": [{"name": "pc", "is-default": True}]}
            if command == "stop":
                self.status = "paused"
            elif command == "cont":
                self.status = "running"
            send({"return": answers.get(command, {})})
            if command == "quit" or (command == "system_powerdown" and "stubborn" not in mode()):
                self.end()

    def agent(self, link):
        for line in link.makefile("r", encoding="utf-8"):
            if "silent" in mode():
                continue
            request = json.loads(line)
            command = request["execute"]
            if command == "guest-sync-delimited":
                link.sendall(b"\xff" + json.dumps({"return": request["arguments"]["id"]}).encode() + b"\n")
                continue
            if command == "guest-shutdown":
                if "stubborn" not in mode():
                    self.end()
                continue
            answer = {"return": {}}
            if command.startswith("guest-fsfreeze-") and "broken" in mode():
                answer = {"error": {"class": "GenericError", "desc": "failed to open /mnt/x: Permission denied"}}
            elif command == "guest-fsfreeze-status":
                answer = {"return": "frozen" if self.frozen else "thawed"}
            elif command in ("guest-fsfreeze-freeze", "guest-fsfreeze-thaw"):
                self.frozen = command.endswith("freeze-freeze")
                answer = {"return": 3}
            link.sendall(json.dumps(answer).encode() + b"\n")


def serve(name, talk):
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{RUN}/{VMID}.{name}")
    server.listen()

    def loop():
        while True:
            link, _ = server.accept()
            with link:
                try:
                    talk(link)
                except OSError:
                    pass
    threading.Thread(target=loop, daemon=True).start()


guest = Guest()
if "immortal" in mode():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
serve("qmp", guest.qmp)
serve("qga", guest.agent)
with open(PIDFILE + ".new", "w", encoding="ascii") as file:
    file.write(str(os.getpid()))
os.rename(PIDFILE + ".new", PIDFILE)
while True:
    signal.pause()
