#!/usr/bin/env python3
"""Pushes a converted image (V2) under another tag with the ztocs of two layers swapped: an index that is wrong.

    swap_ztocs.py REPOSITORY TAG NEW_TAG ONE OTHER

REPOSITORY is a URL such as http://127.0.0.1:5000/v2/app; ONE and OTHER are places of ztocs in the SOCI index, from 0, or
from its end with a minus. Every digest and every annotation is put right again, so that nothing but the ztocs is wrong.
"""

import hashlib
import json
import sys
import urllib.request

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SOCI_V2 = "application/vnd.amazon.soci.index.v2+json"
IMAGE_MANIFEST = "com.amazon.soci.image-manifest-digest"
SOCI_INDEX = "com.amazon.soci.index-digest"


class Repository:
    """A repository's manifests."""

    def __init__(self, url):
        self.url = url

    def get(self, reference):
        request = urllib.request.Request(f"{self.url}/manifests/{reference}", headers={"Accept": f"{INDEX}, {MANIFEST}"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def put(self, media_type, manifest, tag=None):
        """Pushes a manifest and gives what a descriptor of it says."""
        data = json.dumps(manifest, separators=(",", ":")).encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        request = urllib.request.Request(
            f"{self.url}/manifests/{tag or digest}", data, {"Content-Type": media_type}, method="PUT"
        )
        urllib.request.urlopen(request).close()
        return {"digest": digest, "size": len(data)}


def main():
    url, tag, new_tag, one, other = sys.argv[1:]
    repository = Repository(url)
    root = repository.get(tag)
    soci_entry = next(entry for entry in root["manifests"] if entry.get("artifactType") == SOCI_V2)
    image_entry = next(
        entry for entry in root["manifests"] if entry["digest"] == soci_entry["annotations"][IMAGE_MANIFEST]
    )

    soci = repository.get(soci_entry["digest"])
    first, second = soci["layers"][int(one)], soci["layers"][int(other)]
    for field in ("digest", "size"):
        first[field], second[field] = second[field], first[field]
    soci_entry.update(repository.put(MANIFEST, soci))

    image = repository.get(image_entry["digest"])
    for annotations in (image["annotations"], image_entry["annotations"]):
        annotations[SOCI_INDEX] = soci_entry["digest"]
    image_entry.update(repository.put(MANIFEST, image))
    soci_entry["annotations"][IMAGE_MANIFEST] = image_entry["digest"]
    repository.put(INDEX, root, new_tag)


if __name__ == "__main__":
    main()
