#!/usr/bin/env python3
"""Prints the tree of files that layers make when they are applied in order, as JSON for compare.py.

    expected_tree.py TAR... > TREE

The tree comes from the uncompressed tars alone: whiteouts, opaque folders, hard links, pax headers. Neither a ztoc nor a
snapshotter has a part in it.

TREE maps each path to its kind, mode, uid, gid, mtime (in nanoseconds) and xattrs (hexadecimal), and to what its kind
adds: size and sha256, target, or device. Hard links to one file have the same `inode`, a number of this tree.
"""

import hashlib
import itertools
import json
import posixpath
import sys
import tarfile
from decimal import Decimal

BLOCK = 1 << 20
XATTR = "SCHILY.xattr."
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "fifo",
}


class Tree:
    """What the layers so far have made, by path."""

    def __init__(self):
        self.entries = {}
        self.inodes = itertools.count(1)

    def apply(self, archive):
        """Applies one layer. A whiteout hides what lower layers have, never what its own layer brings."""
        own = set()
        for member in archive:
            path = posixpath.normpath(member.name).lstrip("/")
            if path == ".":
                continue
            folder, name = posixpath.split(path)
            if folder and self.entries.get(folder, {}).get("kind") != "folder":
                # Who unpacks such a layer has to invent the folder's mode and time; there is nothing to compare with.
                raise ValueError(f"{archive.name}: {path} is in a folder that has no entry")
            if name == OPAQUE:
                self.remove_below(folder, keep=own)
            elif name.startswith(WHITEOUT):
                self.remove(posixpath.join(folder, name.removeprefix(WHITEOUT)))
            else:
                self.add(path, archive, member)
                own.add(path)

    def add(self, path, archive, member):
        if member.islnk():
            target = self.entries[posixpath.normpath(member.linkname).lstrip("/")]
            self.remove(path)
            self.entries[path] = target
            return
        kind = KINDS[member.type]
        if not (kind == "folder" and self.entries.get(path, {}).get("kind") == "folder"):
            self.remove(path)
        self.entries[path] = {
            "kind": kind,
            "inode": next(self.inodes),
            "mode": member.mode & 0o7777,
            "uid": member.uid,
            "gid": member.gid,
            # A float, which is what tarfile makes of it, has not all digits.
            "mtime": int(Decimal(member.pax_headers.get("mtime", member.mtime)) * 10**9),
            "xattrs": {
                key.removeprefix(XATTR): value.encode("utf-8", "surrogateescape").hex()
                for key, value in member.pax_headers.items()
                if key.startswith(XATTR)
            },
            **details(kind, archive, member),
        }

    def remove(self, path):
        self.entries.pop(path, None)
        self.remove_below(path)

    def remove_below(self, folder, keep=frozenset()):
        for path in [path for path in self.entries if path.startswith(folder + "/") and path not in keep]:
            del self.entries[path]


def details(kind, archive, member):
    if kind == "file":
        digest = hashlib.sha256()
        data = archive.extractfile(member)
        while block := data.read(BLOCK):
            digest.update(block)
        return {"size": member.size, "sha256": digest.hexdigest()}
    if kind == "symlink":
        return {"target": member.linkname}
    if kind.endswith("device"):
        return {"device": [member.devmajor, member.devminor]}
    return {}


def main():
    tree = Tree()
    for tar in sys.argv[1:]:
        with tarfile.open(tar, "r:", errors="surrogateescape") as archive:
            tree.apply(archive)
    json.dump(tree.entries, sys.stdout, separators=(",", ":"))


if __name__ == "__main__":
    main()
