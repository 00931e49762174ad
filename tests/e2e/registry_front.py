#!/usr/bin/env python3
"""A reverse proxy that makes a registry behave worse or stricter than it is.

Answers every n-th request with 503 instead of passing it on, and refuses to push a tag that exists, as ECR does for
repositories with immutable tags, even with the manifest that it names already. Prints one line for every request that
it does not pass on: status, method, path.
"""

import argparse
import http.client
import itertools
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 256 * 1024
TAG = re.compile(r"^/v2/(.+)/manifests/([^:/]+)$")
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


class Handler(BaseHTTPRequestHandler):
    """One connection of a client; each request gets a connection of its own to the registry."""

    protocol_version = "HTTP/1.1"
    upstream = 0
    fail_every = 0
    immutable = False
    numbers = itertools.count(1)

    def handle_any(self):
        length = int(self.headers.get("Content-Length", 0))
        if self.fail_every and next(self.numbers) % self.fail_every == 0:
            self.refuse(503, length, "UNAVAILABLE", "the registry is unavailable")
            return
        match = TAG.match(self.path)
        if self.immutable and self.command == "PUT" and match and self.exists():
            repository, tag = match.groups()
            self.refuse(400, length, "TAG_INVALID", f"The image tag '{tag}' already exists in the '{repository}' "
                        "repository and cannot be overwritten because the tag is immutable.")
            return
        self.pass_on(length)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any

    def exists(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream)
        headers = {"Authorization": self.headers.get("Authorization", ""), "Accept": "application/vnd.oci.image.index.v1+json"}
        connection.request("HEAD", self.path, headers=headers)
        status = connection.getresponse().status
        connection.close()
        return status == 200

    def pass_on(self, length):
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream)
        # The Host header stays, so that the registry's Location headers lead back here.
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP_BY_HOP:
                connection.putheader(name, value)
        connection.endheaders()
        for piece in pieces(self.rfile, length):
            connection.send(piece)
        response = connection.getresponse()
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        size = response.headers.get("Content-Length")
        body = b""
        if size is None and self.command != "HEAD":
            body = response.read()
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if size is not None and self.command != "HEAD":
            for piece in pieces(response, int(size)):
                self.wfile.write(piece)
        connection.close()

    def refuse(self, status, length, code, message):
        for _ in pieces(self.rfile, length):
            pass
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        print(status, self.command, self.path, flush=True)
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format, *args):
        pass


def pieces(file, length):
    """Reads `length` bytes of a file in pieces."""
    while length > 0:
        data = file.read(min(CHUNK, length))
        if not data:
            raise ConnectionError(f"{length} bytes are missing")
        length -= len(data)
        yield data


class Server(ThreadingHTTPServer):
    """A client that hangs up, or a registry that is away, is not an error of the proxy."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", type=int, required=True, help="port to listen on")
    parser.add_argument("--to", type=int, required=True, help="port of the registry")
    parser.add_argument("--fail-every", type=int, default=0, help="answer every n-th request with 503; 0 for none")
    parser.add_argument("--immutable", action="store_true", help="refuse to push a tag that exists")
    arguments = parser.parse_args()
    Handler.upstream = arguments.to
    Handler.fail_every = arguments.fail_every
    Handler.immutable = arguments.immutable
    Server(("127.0.0.1", arguments.listen), Handler).serve_forever()


if __name__ == "__main__":
    main()
