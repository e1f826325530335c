"""How the tests run the lab."""

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent


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
