#!/usr/bin/env python3
"""Changes one span digest in one ztoc of a V2-converted image in an OCI layout, and repairs every digest above it.

What is left is a well-formed image whose blobs all match their digests, and whose ztoc is wrong about its layer.
"""

import hashlib
import json
import pathlib
import sys

SOCI_V2 = "application/vnd.amazon.soci.index.v2+json"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_MANIFEST = "com.amazon.soci.image-manifest-digest"
SOCI_INDEX = "com.amazon.soci.index-digest"


def main():
    folder, tag = pathlib.Path(sys.argv[1]), sys.argv[2]
    blobs = folder / "blobs" / "sha256"

    def read(descriptor):
        return (blobs / descriptor["digest"].removeprefix("sha256:")).read_bytes()

    def replace(descriptor, data):
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        descriptor.update(digest=f"sha256:{name}", size=len(data))

    top = json.loads((folder / "index.json").read_text())
    (root,) = [entry for entry in top["manifests"] if entry.get("annotations", {}).get(REF_NAME) == tag]
    index = json.loads(read(root))
    soci_entry = next(entry for entry in index["manifests"] if entry.get("artifactType") == SOCI_V2)
    image_digest = soci_entry["annotations"][IMAGE_MANIFEST]
    image_entry = next(entry for entry in index["manifests"] if entry["digest"] == image_digest)

    soci = json.loads(read(soci_entry))
    ztoc = soci["layers"][0]
    replace(ztoc, with_wrong_span_digest(read(ztoc)))
    replace(soci_entry, encode(soci))

    image = json.loads(read(image_entry))
    image["annotations"][SOCI_INDEX] = soci_entry["digest"]
    image_entry["annotations"][SOCI_INDEX] = soci_entry["digest"]
    replace(image_entry, encode(image))
    soci_entry["annotations"][IMAGE_MANIFEST] = image_entry["digest"]

    replace(root, encode(index))
    (folder / "index.json").write_bytes(encode(top))


def encode(value):
    return json.dumps(value, separators=(",", ":")).encode()


def with_wrong_span_digest(ztoc):
    """Span digests are stored as text, so one hexadecimal digit can change without harm to the structure."""
    at = ztoc.index(b"sha256:") + len(b"sha256:")
    digit = b"0" if ztoc[at : at + 1] != b"0" else b"1"
    return ztoc[:at] + digit + ztoc[at + 1 :]


if __name__ == "__main__":
    main()
