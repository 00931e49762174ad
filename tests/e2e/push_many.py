#!/usr/bin/env python3
"""Pushes many small images to a registry and prints one JSON object a line: repository, digest, tag.

Every image has one layer of its own, of some kilobytes. The images are spread over a few repositories, whose names are
the prefix and a number.
"""

import argparse
import base64
import concurrent.futures
import gzip
import hashlib
import http.client
import io
import json
import random
import tarfile
import threading

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER_BYTES = 20_000
CONNECTIONS = 8


class Registry:
    """A connection to a registry, kept open."""

    def __init__(self, port, user):
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        self.headers = {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()}

    def request(self, method, path, body, expected, headers=None):
        self.connection.request(method, path, body, {**self.headers, **(headers or {})})
        response = self.connection.getresponse()
        text = response.read()
        if response.status != expected:
            raise SystemExit(f"{method} {path}: {response.status} {text!r}")
        return response

    def push_blob(self, repository, data):
        digest = digest_of(data)
        upload = self.request("POST", f"/v2/{repository}/blobs/uploads/", b"", 202)
        path = "/" + upload.headers["Location"].split("/", 3)[3]
        octets = {"Content-Type": "application/octet-stream"}
        self.request("PUT", f"{path}&digest={digest}", data, 201, octets)
        return {"digest": digest, "size": len(data)}

    def push_image(self, repository, tag, seed):
        tar, layer = make_layer(seed)
        config = {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]},
        }
        manifest = encode({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **self.push_blob(repository, encode(config))},
            "layers": [{"mediaType": LAYER, **self.push_blob(repository, layer)}],
        })
        self.request("PUT", f"/v2/{repository}/manifests/{tag}", manifest, 201, {"Content-Type": MANIFEST})
        return {"repository": repository, "digest": digest_of(manifest), "tag": tag}


def make_layer(seed):
    """A tar with one file of random bytes, and the same compressed."""
    content = random.Random(seed).randbytes(LAYER_BYTES)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("app/data")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    tar = buffer.getvalue()
    return tar, gzip.compress(tar, compresslevel=1, mtime=0)


def encode(value):
    return json.dumps(value, separators=(",", ":")).encode()


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port of the registry on 127.0.0.1")
    parser.add_argument("--user", required=True, help="user:password")
    parser.add_argument("--prefix", required=True, help="what names of repositories begin with")
    parser.add_argument("--repositories", type=int, default=10)
    parser.add_argument("--images", type=int, required=True)
    arguments = parser.parse_args()
    own = threading.local()

    def push(number):
        if not hasattr(own, "registry"):
            own.registry = Registry(arguments.port, arguments.user)
        repository = f"{arguments.prefix}{number % arguments.repositories}"
        return own.registry.push_image(repository, f"v{number}", f"{arguments.prefix} {number}")

    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        for image in pool.map(push, range(arguments.images)):
            print(json.dumps(image))


if __name__ == "__main__":
    main()
