#!/usr/bin/env python3
"""A reverse proxy before a registry that speaks TLS, counts, and is as slow as asked.

Appends one JSON object per request to a file, once its answer has been sent: method, path, range, status and bytes (of
the answer's body). With --rate all answers together share a link of so many bytes per second; --latency is added to
each request.
"""

import argparse
import http.client
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 64 * 1024
# What concerns one connection only (RFC 9110, 7.6.1).
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


class Link:
    """The link that all answers share."""

    def __init__(self, rate):
        self.rate = rate
        self.free_at = 0.0
        self.lock = threading.Lock()

    def carry(self, count):
        """Waits until the link has carried so many bytes more."""
        if not self.rate:
            return
        with self.lock:
            self.free_at = max(self.free_at, time.monotonic()) + count / self.rate
            wait = self.free_at - time.monotonic()
        if wait > 0:
            time.sleep(wait)


class Handler(BaseHTTPRequestHandler):
    """One request; the class attributes are the command line's."""

    protocol_version = "HTTP/1.1"
    # Headers and body are two writes; delayed acknowledgements would hold up the second.
    disable_nagle_algorithm = True
    upstream = 0
    latency = 0.0
    link = Link(0)
    log = None

    def answer(self):
        time.sleep(self.latency)
        status = sent = 0
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream)
        try:
            # Clients of registries that only read send no body.
            headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path, headers=headers)
            response = connection.getresponse()
            status = response.status
            self.send_head(response)
            while data := response.read1(CHUNK):
                self.link.carry(len(data))
                self.wfile.write(data)
                sent += len(data)
        except ConnectionError:
            # One of the two sides is gone; what was sent until then counts.
            self.close_connection = True
        finally:
            connection.close()
            self.note(status, sent)

    do_GET = do_HEAD = answer

    def send_head(self, response):
        self.send_response_only(response.status)
        for key, value in response.getheaders():
            if key.lower() not in HOP_BY_HOP:
                self.send_header(key, value)
        if response.getheader("Content-Length") is None:
            # Then the end of the connection is the end of the body.
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def note(self, status, sent):
        line = {
            "method": self.command,
            "path": self.path,
            "range": self.headers.get("Range"),
            "status": status,
            "bytes": sent,
        }
        self.log.write(json.dumps(line) + "\n")

    def log_message(self, format, *args):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", type=int, required=True, help="port to listen on")
    parser.add_argument("--to", type=int, required=True, help="port of the registry")
    parser.add_argument("--tls", required=True, help="file with its key and its certificate")
    parser.add_argument("--log", required=True, help="file that gets one line per request")
    parser.add_argument("--rate", type=float, default=0, help="bytes per second of all answers together, 0: no limit")
    parser.add_argument("--latency", type=float, default=0, help="milliseconds added to each request")
    arguments = parser.parse_args()
    Handler.upstream = arguments.to
    Handler.latency = arguments.latency / 1000
    Handler.link = Link(arguments.rate)
    # A line at a time, as many threads write and the file is read while they do.
    Handler.log = open(arguments.log, "a", buffering=1, encoding="utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", arguments.listen), Handler)
    server.daemon_threads = True
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(arguments.tls)
    # The handshake is the affair of a connection's own thread.
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main()
