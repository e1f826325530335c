"""Notes the command line and the environment of every process it sees, over and over, until its input ends; then prints
them as JSON, each once, with how many times it looked. Run in the lab's own sandbox, which sees those of all nodes."""

import json
import os
import select
import sys

KINDS = ("cmdline", "environ")


def look(seen):
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        for kind in KINDS:
            try:
                with open(f"/proc/{name}/{kind}", "rb", buffering=0) as file:
                    seen[kind].add(file.read(1 << 20))
            except OSError:
                continue  # it has ended


def main():
    seen = {kind: set() for kind in KINDS}
    looks = 0
    print("looking", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        look(seen)
        looks += 1
    print(json.dumps({"looks": looks, **{kind: sorted(blob.decode("latin-1") for blob in blobs)
                                         for kind, blobs in seen.items()}}))


main()
