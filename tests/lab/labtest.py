"""How the tests run the lab."""

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The build that is tried: ctest says which, by hand it is the preset dev.
BUILD = Path(os.environ.get("CROSSOVER_BUILD", HERE.parents[1] / "build" / "dev"))
CROSSOVER = BUILD / "cli" / "crossover"

# The options with which a mirror run has the rights it needs on each side, and no more: see docs/access.md.
KEYRING = "/etc/pve/priv/ceph.client.crossover.keyring"
SOURCE_USER = ("--source-user=crossover", f"--source-keyring={KEYRING}")
USERS = (*SOURCE_USER, "--destination-user=crossover", f"--destination-keyring={KEYRING}")


class Lab:
    """Runs `lab` for one state folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.environment = {**os.environ, "CROSSOVER_LAB_STATE": str(folder)}

    def start(self, *words, **options):
        return subprocess.Popen([HERE / "lab", *words], env=self.environment, **options)

    def __call__(self, *words, check=True, **options):
        done = subprocess.run([HERE / "lab", *words], env=self.environment, capture_output=True, text=True, timeout=120,
                              **options)
        if check and done.returncode:
            raise AssertionError(f"lab {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def run(self, node, *command):
        """What a command prints in a node."""
        return self("exec", node, *command).stdout
