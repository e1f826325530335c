"""pveversion."""
import os

from . import cli
from .cli import Command, boolean


def version(verbose=0):
    print(f"pve-manager/9.2.11/a1b2c3d4e5f60718 (running kernel: {os.uname().release})")


def main():
    cli.main("pveversion", {"": Command(version, "[OPTIONS]", [], {"verbose": boolean})}, lambda words: "")
