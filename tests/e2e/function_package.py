"""The package of a Lambda function of a program that is its own runtime.

A program may be several, by the name under which it is started, so it keeps its name; `bootstrap` starts it.
"""

import io
import pathlib
import zipfile


def package(program):
    """The bytes of the zip archive."""
    program = pathlib.Path(program)
    start = f'#!/bin/sh\nexec "$(dirname "$0")/{program.name}"\n'
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        for name, content in ((program.name, program.read_bytes()), ("bootstrap", start.encode())):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o755 << 16
            zipped.writestr(entry, content)
    return archive.getvalue()
