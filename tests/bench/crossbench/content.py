"""What images hold. Runs in a node.

Random, incompressible content; the same seed writes the same, to whichever image:

    content.py fill POOL/IMAGE SEED BYTES     the first BYTES bytes, in full
    content.py tails POOL/IMAGE SEED BYTES    the last 4 KiB of every second object of the first BYTES bytes: objects of
                                              full length with almost nothing in them
    content.py scatter POOL/IMAGE SEED COUNT  COUNT different blocks of 4 KiB, all over the image

And besides:

    content.py digest POOL/IMAGE[@SNAPSHOT]   prints a digest of size and content, allocated or not
    content.py create POOL PREFIX COUNT       makes COUNT small images; `content.py remove` removes them
"""

import contextlib
import hashlib
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


@contextlib.contextmanager
def opened_pool(name):
    with rados.Rados(conffile="/etc/ceph/ceph.conf", conf={"rbd_cache": "false"}) as cluster, \
            cluster.open_ioctx(name) as context:
        yield context


def write_content(how, spec, seed, amount):
    pool, name = spec.split("/")
    with opened_pool(pool) as context, rbd.Image(context, name) as image:
        write(image, WRITERS[how](random.Random(seed), image.size(), int(amount)))


def digest(spec):
    pool, rest = spec.split("/")
    name, _, snapshot = rest.partition("@")
    with opened_pool(pool) as context, rbd.Image(context, name, snapshot=snapshot or None, read_only=True) as image:
        size = image.size()
        objects = set()

        def found(offset, length, exists):
            if exists:
                objects.update(range(offset // OBJECT, (offset + length - 1) // OBJECT + 1))

        # Byte by byte, which asks the OSDs: an object map would be believed.
        image.diff_iterate(0, size, None, found, whole_object=False)
        total = hashlib.sha256(str(size).encode())
        zeroes = bytes(OBJECT)
        for number in sorted(objects):
            offset = number * OBJECT
            data = image.read(offset, min(OBJECT, size - offset))
            if data != zeroes[:len(data)]:
                total.update(offset.to_bytes(8, "little"))
                total.update(data)
        print(total.hexdigest())


def create(pool, prefix, count):
    with opened_pool(pool) as context:
        for number in range(int(count)):
            rbd.RBD().create(context, f"{prefix}{number}", OBJECT)


def remove(pool, prefix, count):
    with opened_pool(pool) as context:
        for number in range(int(count)):
            rbd.RBD().remove(context, f"{prefix}{number}")


WRITERS = {"fill": fill, "tails": tails, "scatter": scatter}
OTHERS = {"digest": digest, "create": create, "remove": remove}


def main(what, *arguments):
    if what in WRITERS:
        write_content(what, *arguments)
    else:
        OTHERS[what](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
