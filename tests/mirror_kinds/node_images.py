"""Runs in a node: changes to RBD images, one JSON list of them on standard input, over one connection.

Each is [verb, "pool[/namespace]/image", argument...]; the verbs are the functions below.
"""

import json
import os
import sys

import rados
import rbd


def create(context, name, size, options):
    rbd.RBD().create(context, name, size, old_format=False, **{"order": 22, "features": 61, **options})


def write(context, name, offset, length):
    """Content that no other image and no earlier moment has."""
    with rbd.Image(context, name) as image:
        image.write(os.urandom(length), offset)


def discard(context, name, offset, length):
    with rbd.Image(context, name) as image:
        image.discard(offset, length)


def resize(context, name, size):
    with rbd.Image(context, name) as image:
        image.resize(size)


def snapshot(context, name, snapshot_name):
    with rbd.Image(context, name) as image:
        image.create_snap(snapshot_name)


def metadata(context, name, key, value):
    with rbd.Image(context, name) as image:
        image.metadata_set(key, value)


def copy(context, name, new_name):
    """As `rbd cp` does it: metadata is copied, snapshots are not."""
    with rbd.Image(context, name) as image:
        image.copy(context, new_name)


def rename(context, name, new_name):
    rbd.RBD().rename(context, name, new_name)


def remove(context, name):
    rbd.RBD().remove(context, name)


def main():
    with rados.Rados(conffile="/etc/ceph/ceph.conf") as cluster:
        for verb, spec, *arguments in json.load(sys.stdin):
            pool, *namespace, name = spec.split("/")
            with cluster.open_ioctx(pool) as context:
                context.set_namespace("".join(namespace))
                globals()[verb](context, name, *arguments)


if __name__ == "__main__":
    main()
