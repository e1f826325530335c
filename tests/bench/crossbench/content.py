"""Writes random, incompressible content to an image; the same seed writes the same, to whichever image. Runs in a node.

    content.py fill POOL/IMAGE SEED BYTES     the first BYTES bytes, in full
    content.py tails POOL/IMAGE SEED BYTES    the last 4 KiB of every second object of the first BYTES bytes: objects of
                                              full length with almost nothing in them
    content.py scatter POOL/IMAGE SEED COUNT  COUNT different blocks of 4 KiB, all over the image
"""

import random
import sys
import threading

# Debian's modules; -E leaves them out.
sys.path.append("/usr/lib/python3/dist-packages")
import rados  # noqa: E402
import rbd  # noqa: E402

OBJECT = 4 << 20
BLOCK = 4 << 10
IN_FLIGHT = 32


def fill(random_source, _, size):
    for offset in range(0, size, OBJECT):
        yield offset, random_source.randbytes(min(OBJECT, size - offset))


def tails(random_source, _, size):
    for offset in range(0, size - OBJECT + 1, 2 * OBJECT):
        yield offset + OBJECT - BLOCK, random_source.randbytes(BLOCK)


def scatter(random_source, image_size, count):
    for block in random_source.sample(range(image_size // BLOCK), count):
        yield block * BLOCK, random_source.randbytes(BLOCK)


def write(image, pieces):
    room = threading.Semaphore(IN_FLIGHT)
    failures = []

    def done(completion):
        if completion.get_return_value() < 0:
            failures.append(completion.get_return_value())
        room.release()

    for offset, data in pieces:
        room.acquire()
        image.aio_write(data, offset, done)
    for _ in range(IN_FLIGHT):
        room.acquire()
    image.flush()
    if failures:
        raise OSError(-failures[0], "write")


def main(how, spec, seed, amount):
    pool, name = spec.split("/")
    with rados.Rados(conffile="/etc/ceph/ceph.conf", conf={"rbd_cache": "false"}) as cluster, \
            cluster.open_ioctx(pool) as context, rbd.Image(context, name) as image:
        write(image, {"fill": fill, "tails": tails, "scatter": scatter}[how](random.Random(seed), image.size(),
                                                                            int(amount)))


if __name__ == "__main__":
    main(*sys.argv[1:])
