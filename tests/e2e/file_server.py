#!/usr/bin/env python3
"""Serves files the way an object store serves presigned URLs.

Answers GET and HEAD with Range support, and 400 when the request carries an Authorization header. Prints one line per
request: method, path, range or "-", status.
"""

import argparse
import os
import pathlib
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 256 * 1024


class Handler(BaseHTTPRequestHandler):
    """One request; `root` is the folder that is served."""

    protocol_version = "HTTP/1.1"
    root = pathlib.Path()

    def do_GET(self):
        self.answer(with_body=True)

    def do_HEAD(self):
        self.answer(with_body=False)

    def answer(self, with_body):
        if self.headers.get("Authorization") is not None:
            self.refuse(400, "only one auth mechanism allowed")
            return
        path = self.root / self.path.lstrip("/").split("?")[0]
        if ".." in path.parts or not path.is_file():
            self.refuse(404, "no such file")
            return
        size = path.stat().st_size
        span = self.wanted(size)
        if span is None:
            self.refuse(416, "range not satisfiable")
            return
        start, end, partial = span
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.end_headers()
        if with_body:
            self.send_part(path, start, end)

    def wanted(self, size):
        """Start, end and whether the answer is partial; None if the range lies outside the file."""
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not match or match.group(0) == "bytes=-":
            return 0, size, False
        first, last = match.groups()
        if first == "":
            start, end = max(size - int(last), 0), size
        else:
            start, end = int(first), min(int(last) + 1 if last else size, size)
        return (start, end, True) if start < end else None

    def send_part(self, path, start, end):
        with open(path, "rb") as file:
            file.seek(start)
            left = end - start
            while left > 0:
                data = file.read(min(CHUNK, left))
                if not data:
                    raise OSError(f"{path} ends {left} bytes early")
                self.wfile.write(data)
                left -= len(data)

    def refuse(self, status, text):
        body = (text + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_request(self, code="-", size="-"):
        print(self.command, self.path, self.headers.get("Range", "-"), int(code), flush=True)

    def log_message(self, format, *args):
        pass


class Server(ThreadingHTTPServer):
    """A client that hangs up is not an error of the server."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    Handler.root = pathlib.Path(os.path.realpath(arguments.root))
    Server((arguments.address, arguments.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
