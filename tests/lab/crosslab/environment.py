"""Where the lab is, and what its commands find in their environment."""

import os

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "USER": "root", "LANG": "C.UTF-8"}


def state_folder():
    """The only place on the host the lab writes to."""
    return os.path.realpath(os.environ.get("CROSSOVER_LAB_STATE") or "/var/lib/crossover-lab")
