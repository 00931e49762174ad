#!/usr/bin/env python3
"""Compares every file below a folder with the tree that expected_tree.py made of the layers: content and metadata.

    compare.py FOLDER TREE

Prints one line per difference, of the first fifty, and the counts as JSON. Exit codes: 0 all equal, 1 there are
differences; a file that cannot be read is one. After fifty of these it reads no further.
"""

import hashlib
import json
import os
import posixpath
import stat
import sys
from concurrent.futures import ThreadPoolExecutor

SHOWN = 50
# As many as a pool of readers that waits for a registry needs; the kernel reads ahead within one file anyway.
READERS = 4
KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
}


def look(folder, path):
    """What an entry of the mounted tree is, in the terms of the expected one."""
    full = os.path.join(folder, path)
    status = os.lstat(full)
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    entry = {
        "kind": kind,
        "inode": status.st_ino,
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mtime": status.st_mtime_ns,
        "xattrs": {
            name: os.getxattr(full, name, follow_symlinks=False).hex()
            for name in os.listxattr(full, follow_symlinks=False)
            # The union's own bookkeeping.
            if not name.startswith("trusted.overlay.")
        },
    }
    if kind == "file":
        entry["size"] = status.st_size
        with open(full, "rb") as file:
            entry["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    elif kind == "symlink":
        entry["target"] = os.readlink(full)
    elif kind.endswith("device"):
        entry["device"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
    return entry


def look_or_tell(folder, path):
    try:
        return look(folder, path)
    except OSError as error:
        return {"error": error.strerror}


def look_at_all(folder, paths):
    """What each path is, until so many cannot be read that the rest tells nothing more."""
    found = {}
    unreadable = 0
    with ThreadPoolExecutor(READERS) as pool:
        for path, entry in zip(paths, pool.map(lambda path: look_or_tell(folder, path), paths)):
            found[path] = entry
            unreadable += "error" in entry
            if unreadable == SHOWN:
                pool.shutdown(cancel_futures=True)
                break
    return found


def walk(folder):
    """All paths below a folder, and the errors met while listing them."""
    errors = []
    paths = []
    for parent, folders, files in os.walk(folder, onerror=errors.append):
        base = os.path.relpath(parent, folder)
        paths += [posixpath.normpath(posixpath.join(base, name)) for name in folders + files]
    return paths, errors


def differences(expected, found):
    for path in sorted(expected.keys() | found.keys()):
        if path not in expected:
            yield path, "is there, but in no layer"
        elif path not in found:
            yield path, "is missing"
        elif "error" in found[path]:
            yield path, "cannot be read:", found[path]["error"]
        else:
            for key, value in expected[path].items():
                # Numbers of inodes mean something only beside each other.
                if key != "inode" and found[path].get(key) != value:
                    yield path, key, "is", found[path].get(key), "instead of", value


def broken_links(expected, found):
    """Groups of hard links that are not the same file, or are the same file as others."""
    for group in links(expected):
        if len({found[path].get("inode") for path in group if path in found}) > 1:
            yield group[0], "is not one file with", group[1:]


def links(expected):
    groups = {}
    for path, entry in expected.items():
        if entry["kind"] != "folder":
            groups.setdefault(entry["inode"], []).append(path)
    return [group for group in groups.values() if len(group) > 1]


def main():
    folder, tree = sys.argv[1:]
    with open(tree, encoding="utf-8") as file:
        expected = json.load(file)
    paths, errors = walk(folder)
    found = look_at_all(folder, paths)
    if len(found) < len(paths):
        # What was not looked at is not missing.
        expected = {path: entry for path, entry in expected.items() if path in found}
    different = [(error.filename, "cannot be listed:", error.strerror) for error in errors]
    different += differences(expected, found)
    different += broken_links(expected, found)
    for line in different[:SHOWN]:
        # Names may hold anything.
        print("DIFFERENT", *(ascii(part) for part in line))
    counts = {
        "entries": len(found),
        "bytes": sum(entry.get("size", 0) for entry in found.values()),
        "hard_links": len(links(expected)),
        "with_xattrs": sum(bool(entry["xattrs"]) for entry in expected.values()),
        "differences": len(different),
    }
    print(json.dumps(counts))
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
