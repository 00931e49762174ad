#!/usr/bin/env python3
"""Writes the tar of a layer that no package gives, the same bytes every time.

    make_layer.py KIND TAR

Kinds: `many`, thousands of small files; `odd`, what file systems have beside plain files, and whiteouts of what `many`
brought; `plain`, a few files. All are larger than the minimum layer size when compressed, so that they get a ztoc.
"""

import io
import random
import sys
import tarfile

TIME = 1_700_000_000
MIB = 1 << 20
MANY_FOLDERS, MANY_FILES = 100, 100


class Layer:
    """A tar that is being written. Every folder gets an entry, as image builders do it."""

    def __init__(self, file, seed):
        self.tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)
        self.random = random.Random(seed)
        self.folders = set()

    def add(self, name, kind=tarfile.REGTYPE, content=b"", link="", mode=0o644, owner=(0, 0), mtime=TIME, device=(0, 0),
            xattrs=None):
        parent = name.rpartition("/")[0]
        if parent and parent not in self.folders:
            self.add(parent, tarfile.DIRTYPE, mode=0o755)
        if kind == tarfile.DIRTYPE:
            self.folders.add(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.mode, entry.size = kind, link, mode, len(content)
        entry.uid, entry.gid = owner
        entry.devmajor, entry.devminor = device
        if isinstance(mtime, str):
            entry.pax_headers["mtime"] = mtime
        else:
            entry.mtime = mtime
        for key, value in (xattrs or {}).items():
            entry.pax_headers[f"SCHILY.xattr.{key}"] = value.decode("utf-8", "surrogateescape")
        self.tar.addfile(entry, io.BytesIO(content))

    def folder(self, name, mode=0o755, **more):
        self.add(name, tarfile.DIRTYPE, mode=mode, **more)

    def noise(self, size):
        """Bytes that no compressor makes smaller."""
        return self.random.randbytes(size)

    def text(self, size):
        """Bytes that a compressor makes half as large."""
        return self.random.randbytes((size + 1) // 2).hex().encode()[:size]


def many(layer):
    for folder in range(MANY_FOLDERS):
        for file in range(MANY_FILES):
            size = layer.random.randrange(4800)
            layer.add(f"srv/many/{folder:02}/{file:02}.txt", content=layer.text(size))
    layer.add("srv/many/hidden/deep/file", content=b"the odd layer hides all of this")
    layer.add("srv/many/opaque/old/file", content=b"the odd layer hides this")
    layer.add("srv/many/was-a-file", content=b"a file that becomes a folder")
    layer.add("srv/many/was-a-folder/file", content=b"a folder that becomes a file")
    layer.add("srv/many/changed", content=b"content that changes, with its mode and time")


def odd(layer):
    # Large enough for a ztoc; the files after it lie in spans of their own.
    layer.add("srv/odd/noise", content=layer.noise(11 * MIB))
    layer.add("srv/odd/zeros", content=bytes(9 * MIB))
    layer.add("srv/odd/empty")
    layer.folder("srv/odd/empty-folder")

    layer.add("srv/many/.wh.hidden")
    layer.add("srv/many/07/.wh.07.txt")
    layer.folder("srv/many/opaque")
    layer.add("srv/many/opaque/.wh..wh..opq")
    layer.add("srv/many/opaque/new", content=b"the only file of an opaque folder")
    layer.add("srv/many/was-a-file/file", content=b"below what was a file")
    layer.add("srv/many/was-a-folder", content=b"no folder any more")
    layer.add("srv/many/changed", content=b"other content", mode=0o600, mtime=TIME + 60)

    layer.add("srv/odd/links/first", content=layer.text(70_000), mode=0o4755)
    layer.add("srv/odd/links/second", tarfile.LNKTYPE, link="srv/odd/links/first", mode=0o4755)
    layer.add("srv/odd/third", tarfile.LNKTYPE, link="srv/odd/links/first", mode=0o4755)
    layer.add("srv/odd/symlink", tarfile.SYMTYPE, link="links/first", mode=0o777)
    layer.add("srv/odd/dangling", tarfile.SYMTYPE, link="/nowhere/" + "at-all/" * 30, mode=0o777)

    layer.add("srv/odd/null", tarfile.CHRTYPE, device=(1, 3), mode=0o666)
    layer.add("srv/odd/loop", tarfile.BLKTYPE, device=(7, 300), mode=0o660, owner=(0, 6))
    layer.add("srv/odd/fifo", tarfile.FIFOTYPE, mode=0o622)

    layer.add("srv/odd/xattrs", content=b"with attributes",
              xattrs={"user.text": b"a value", "user.bytes": b"\x00\xff\n="})
    # Not with the others: of several the snapshotter drops the empty ones at random, and then refuses to read the file.
    layer.add("srv/odd/empty-xattr", content=b"with an empty attribute", xattrs={"user.empty": b""})
    layer.folder("srv/odd/xattr-folder", xattrs={"user.folder": b"yes"})
    # cap_net_bind_service, permitted and effective: what ping and web servers carry.
    layer.add("srv/odd/capability", content=b"#!/bin/sh\n", mode=0o755,
              xattrs={"security.capability": bytes.fromhex("0100000200040000000000000000000000000000")})

    layer.folder("srv/odd/sticky", mode=0o1777, owner=(65534, 65534))
    layer.add("srv/odd/setgid", content=b"x", mode=0o2711, owner=(100_000, 4_000_000_000))
    layer.add("srv/odd/unreadable", content=b"x", mode=0)
    layer.add("srv/odd/epoch", content=b"x", mtime=0)
    layer.add("srv/odd/nanoseconds", content=b"x", mtime="1700000000.123456789")
    layer.add("srv/odd/after-2038", content=b"x", mtime=5_000_000_000)
    layer.add("srv/odd/name with space, \\ and ünïcode ☃", content=b"x")
    layer.add("srv/odd/" + "a-long-folder-name/" * 15 + "file", content=b"at the end of a long path")


def plain(layer):
    for number in range(3):
        layer.add(f"srv/plain/{number}", content=layer.noise(4 * MIB))


def main():
    kind, path = sys.argv[1:]
    with open(path, "wb") as file:
        layer = Layer(file, kind)
        {"many": many, "odd": odd, "plain": plain}[kind](layer)
        layer.tar.close()


if __name__ == "__main__":
    main()
