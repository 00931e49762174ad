#!/usr/bin/env python3
"""A TCP proxy that is slow and fails on purpose.

Limits the bytes per second from the server to the clients, cuts the first connections that carry many bytes, and
creates a file once a number of bytes has passed, for a caller that waits to break something in the middle.
"""

import argparse
import pathlib
import socket
import threading
import time

CHUNK = 64 * 1024


class Toxics:
    """The state that all connections share."""

    def __init__(self, arguments):
        self.rate = arguments.rate
        self.cut_after = arguments.cut_after
        self.cuts_left = arguments.cuts
        self.mark_after = arguments.mark_after
        self.mark = arguments.mark
        self.passed = 0
        self.free_at = time.monotonic()
        self.lock = threading.Lock()

    def account(self, count, on_connection):
        """Waits for the rate's turn; true if the connection is to be cut."""
        with self.lock:
            now = time.monotonic()
            self.free_at = max(self.free_at, now)
            wait = self.free_at - now
            if self.rate:
                self.free_at += count / self.rate
            self.passed += count
            if self.mark and self.passed >= self.mark_after:
                self.mark.touch()
                self.mark = None
            cut = self.cuts_left > 0 and on_connection >= self.cut_after
            if cut:
                self.cuts_left -= 1
                print(f"cut a connection after {on_connection} bytes", flush=True)
        time.sleep(wait)
        return cut


def pump_up(client, server):
    try:
        while data := client.recv(CHUNK):
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)
    except OSError:
        close(client, server)


def pump_down(client, server, toxics):
    carried = 0
    try:
        while data := server.recv(CHUNK):
            carried += len(data)
            if toxics.account(len(data), carried):
                break
            client.sendall(data)
    except OSError:
        pass
    close(client, server)


def close(*sockets):
    for one in sockets:
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        one.close()


def serve(arguments):
    toxics = Toxics(arguments)
    listener = socket.create_server(("127.0.0.1", arguments.listen), backlog=128)
    while True:
        client, _ = listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", arguments.to))
        except OSError:
            client.close()
            continue
        threading.Thread(target=pump_up, args=(client, server), daemon=True).start()
        threading.Thread(target=pump_down, args=(client, server, toxics), daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", type=int, required=True, help="port to listen on")
    parser.add_argument("--to", type=int, required=True, help="port of the server")
    parser.add_argument("--rate", type=float, default=0, help="bytes per second to the clients, 0 for no limit")
    parser.add_argument("--cut-after", type=int, default=0, help="bytes of one connection before it is cut")
    parser.add_argument("--cuts", type=int, default=0, help="connections to cut")
    parser.add_argument("--mark-after", type=int, default=0, help="bytes to pass before the mark is made")
    parser.add_argument("--mark", type=pathlib.Path, help="file to create")
    serve(parser.parse_args())


if __name__ == "__main__":
    main()
