#!/usr/bin/env python3
"""Stands in for soci-index-builder where ./deploy is tested: notes its calls, and does what they do to the account."""

import marshal
import os
import sys

FOLDER = os.environ["FAKE_AWS"]
DIGEST = "sha256:" + "a" * 64


def save(state: dict) -> None:
    with open(f"{FOLDER}/state", "wb") as file:
        marshal.dump(state, file)


def main() -> None:
    words = sys.argv[1:]
    if words[1:] == ["--help"]:
        return
    environment = {name: os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE")}
    with open(f"{FOLDER}/program", "a") as calls:
        print(repr({"words": words, "environment": environment}), file=calls)
    with open(f"{FOLDER}/state", "rb") as file:
        state = marshal.load(file)
    if words[0] == "copy":
        if failure := state.get("copy_failure"):
            print(f"error: {words[1]}: {failure}", file=sys.stderr)
            sys.exit(1)
        place, tag = words[2].rsplit(":", 1)
        state["repositories"][place.split("/", 1)[1]][tag] = DIGEST
        print(f"{place}@{DIGEST}")
    elif words[0] == "sample-image":
        place, tag = words[1].rsplit(":", 1)
        state["repositories"][place.split("/", 1)[1]][tag] = DIGEST
        print(DIGEST)
    elif words[0] == "verify":
        if state.get("index_after", 0) > 0:
            state["index_after"] -= 1
            save(state)
            print(f"error: {words[1]}: no SOCI index", file=sys.stderr)
            sys.exit(1)
        print(f"verified {words[1]}")
    else:
        sys.exit(2)
    save(state)


main()
