#!/usr/bin/env python3
"""Runs a command and writes what it took to a JSON file.

    measure.py RESULT [--discard] COMMAND...

The result holds `seconds` of wall time, `cpu_seconds` of user and system time, `peak_rss` in bytes, `written`, the
bytes that the command made the kernel write to disk (file pages it dirtied; pipes and tmpfs do not count), and `code`,
the exit code. The command's stdout comes through a pipe, so that it does not count as written; with --discard it goes
to /dev/null.
"""

import json
import os
import shutil
import subprocess
import sys
import time

# Linux counts ru_oublock in sectors of 512 bytes, whatever the file system's block size is.
SECTOR = 512


def main():
    result, command = sys.argv[1], sys.argv[2:]
    discard = command[0] == "--discard"
    if discard:
        command = command[1:]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL if discard else subprocess.PIPE)
    if not discard:
        shutil.copyfileobj(process.stdout, sys.stdout.buffer)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    code = os.waitstatus_to_exitcode(status)
    with open(result, "w", encoding="utf-8") as file:
        json.dump(
            {
                "seconds": seconds,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak_rss": usage.ru_maxrss * 1024,
                "written": usage.ru_oublock * SECTOR,
                "code": code,
            },
            file,
        )
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
