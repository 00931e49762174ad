#!/usr/bin/env python3
"""Writes an OCI image layout from layer files and a specification on stdin.

The specification is a JSON object:

    {"tag": "1", "index": true,
     "images": [{"platform": {"os": "linux", "architecture": "amd64"}, "config_media_type": "...",
                 "command": ["..."],
                 "layers": [{"file": "...", "media_type": "...", "diff_id": "sha256:..."}]}]}

`index` tells whether the tag names an image index (even one of a single image) or the only image's manifest.
`config_media_type` makes something other than an image of it; the config is then a small object of no meaning. `command` is what the image
runs, /bin/sh if it is left out.
"""

import hashlib
import json
import os
import pathlib
import shutil
import sys

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CREATED = "2024-01-01T00:00:00Z"


class Layout:
    """An OCI image layout that is being written to a new folder."""

    def __init__(self, folder):
        self.folder = folder
        self.blobs = folder / "blobs" / "sha256"
        self.blobs.mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def add_json(self, media_type, value):
        data = json.dumps(value, separators=(",", ":")).encode()
        name = hashlib.sha256(data).hexdigest()
        (self.blobs / name).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}

    def add_file(self, media_type, path):
        with open(path, "rb") as file:
            name = hashlib.file_digest(file, "sha256").hexdigest()
        target = self.blobs / name
        if not target.exists():
            try:
                os.link(path, target)
            except OSError:
                shutil.copyfile(path, target)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": target.stat().st_size}

    def add_image(self, image):
        platform = image["platform"]
        media_type = image.get("config_media_type", CONFIG)
        layers = [self.add_file(layer["media_type"], layer["file"]) for layer in image["layers"]]
        if media_type == CONFIG:
            config = {
                "created": CREATED,
                **platform,
                "config": {"Cmd": image.get("command", ["/bin/sh"])},
                "rootfs": {"type": "layers", "diff_ids": [layer["diff_id"] for layer in image["layers"]]},
                "history": [{"created": CREATED, "created_by": layer["file"].split("/")[-1]} for layer in image["layers"]],
            }
        else:
            config = {"name": "e2e", "version": "1.0.0"}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.add_json(media_type, config),
            "layers": layers,
        }
        return {**self.add_json(MANIFEST, manifest), "platform": platform}

    def set_root(self, descriptor, tag):
        root = {**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [root]}
        (self.folder / "index.json").write_text(json.dumps(index))


def main():
    layout = Layout(pathlib.Path(sys.argv[1]))
    specification = json.load(sys.stdin)
    manifests = [layout.add_image(image) for image in specification["images"]]
    if specification["index"]:
        root = layout.add_json(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
    else:
        (root,) = manifests
        del root["platform"]
    layout.set_root(root, specification["tag"])
    print(root["digest"])


if __name__ == "__main__":
    main()
