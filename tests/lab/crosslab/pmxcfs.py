#!/usr/bin/python3
"""/etc/pve on one node: a FUSE file system that behaves as Proxmox's pmxcfs does, over a folder all nodes share.

    pmxcfs.py FOLDER NODE MOUNTPOINT

Written after what the real one answers, errors included; the rules for the data itself are in shared_tree.py.
"""

import errno
import grp
import os
import stat
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

import fusepy  # noqa: E402

from crosslab.shared_tree import SharedTree, is_private, refuse  # noqa: E402

BLOCK = 4096
BLOCKS = 32768
INODES = 262144
CLUSTERLOG = '{\n"data": [\n\n]\n}\n'


class Pmxcfs:
    """The calls of the kernel. What is missing here (symbolic links, special files) is ENOSYS, as there."""

    use_ns = True

    def __init__(self, tree):
        self.tree = tree
        self.group = grp.getgrnam("www-data").gr_gid
        here = f"nodes/{tree.node}"
        self.links = {"local": here, "qemu-server": f"{here}/qemu-server", "lxc": f"{here}/lxc",
                      "openvz": f"{here}/openvz"}
        self.made = {".vmlist": tree.vmlist, ".members": tree.members, ".version": tree.version,
                     ".clusterlog": lambda: CLUSTERLOG, ".rrd": lambda: "", ".debug": lambda: "0\n"}

    def __call__(self, operation, path, *arguments):
        """How fusepy calls us. Its first path comes without the leading slash to the methods below."""
        if not hasattr(type(self), operation):
            refuse(errno.EFAULT)
        return getattr(self, operation)(path[1:], *arguments)

    def init(self, path):
        pass

    def destroy(self, path):
        pass

    # Attributes

    def _attributes(self, mode, size=0, links=1, changed=0):
        when = changed * 10**9
        return {"st_mode": mode if self.tree.quorate else mode & ~0o222, "st_nlink": links, "st_uid": 0,
                "st_gid": self.group, "st_size": size, "st_blocks": -(-size // BLOCK), "st_blksize": BLOCK,
                "st_atime": when, "st_mtime": when, "st_ctime": when}

    def _mode(self, path):
        return 0o600 if is_private(path) else 0o640

    def getattr(self, path, handle=None):
        if path in self.links:
            return self._attributes(stat.S_IFLNK | 0o755, len(self.links[path]))
        if path in self.made:
            mode = stat.S_IFREG | (0o640 if path == ".debug" else 0o440)
            return {**self._attributes(mode, len(self.made[path]())), "st_mode": mode}
        if not path:
            mode = stat.S_IFDIR | 0o755
            return {**self._attributes(mode, links=2), "st_mode": mode}
        real = os.lstat(self.tree.real(path))
        changed = int(real.st_mtime)
        if stat.S_ISDIR(real.st_mode):
            return self._attributes(stat.S_IFDIR | (0o700 if is_private(path) else 0o755), links=2, changed=changed)
        return self._attributes(stat.S_IFREG | self._mode(path), real.st_size, changed=changed)

    def chmod(self, path, mode):
        if mode & 0o7777 != self._mode(path):
            refuse(errno.EPERM)

    def chown(self, path, user, group):
        if user not in (0, -1) or group not in (self.group, -1):
            refuse(errno.EPERM)

    def utimens(self, path, times=None):
        if path in self.links or path in self.made or not path:
            refuse(errno.EACCES)
        self.tree.set_time(path, times[1] // 10**9 if times else int(time.time()))

    def statfs(self, path):
        size, files = 0, 1
        for folder, folders, names in os.walk(self.tree.root):
            files += len(folders) + len(names)
            size += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
        free = BLOCKS - -(-size // BLOCK)
        return {"f_bsize": BLOCK, "f_frsize": BLOCK, "f_blocks": BLOCKS, "f_bfree": free, "f_bavail": free,
                "f_files": INODES, "f_ffree": INODES - files, "f_favail": INODES - files, "f_namemax": 256}

    # Reading

    def readlink(self, path):
        return self.links[path] if path in self.links else refuse(errno.EINVAL)

    def readdir(self, path, handle):
        names = [".", "..", *os.listdir(self.tree.real(path))]
        return names if path else names + [*self.links, *self.made]

    def open(self, path, flags):
        if path not in self.made:
            os.lstat(self.tree.real(path))
        elif flags & os.O_ACCMODE != os.O_RDONLY and path != ".debug":
            refuse(errno.EACCES)
        return 0

    def read(self, path, size, offset, handle):
        if path in self.made:
            return self.made[path]().encode()[offset:offset + size]
        with open(self.tree.real(path), "rb") as source:
            source.seek(offset)
            return source.read(size)

    def flush(self, path, handle):
        pass

    def release(self, path, handle):
        pass

    def fsync(self, path, data_only, handle):
        pass

    # Changing; the names Proxmox makes up are nobody's to change

    def _own(self, *paths):
        if any(path in self.links or path in self.made for path in paths):
            refuse(errno.EACCES)

    def create(self, path, mode, info=None):
        self._own(path)
        self.tree.create(path)
        return 0

    def write(self, path, data, offset, handle):
        if path == ".debug":
            return len(data)
        return self.tree.write(path, data, offset)

    def truncate(self, path, length, handle=None):
        if path != ".debug":
            self._own(path)
            self.tree.truncate(path, length)

    def mkdir(self, path, mode):
        self._own(path)
        self.tree.mkdir(path)

    def unlink(self, path):
        self._own(path)
        self.tree.unlink(path)

    def rmdir(self, path):
        self.tree.rmdir(path)

    def rename(self, old, new):
        new = new[1:]
        self._own(old, new)
        self.tree.rename(old, new)

    def link(self, new, old):
        refuse(errno.EPERM)


def main():
    folder, node, mount_point = sys.argv[1:]
    # Nothing is cached: what one node changes the others see with their next look.
    fusepy.FUSE(Pmxcfs(SharedTree(folder, node)), mount_point, foreground=True, nothreads=True, fsname="/dev/fuse",
                allow_other=True, default_permissions=True, nosuid=True, nodev=True, direct_io=True, attr_timeout=0,
                entry_timeout=0, negative_timeout=0)


if __name__ == "__main__":
    main()
