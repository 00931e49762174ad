#!/usr/bin/env python3
"""Prints the body of Lambda's CreateFunction for a program that is its own runtime.

function_request.py NAME PROGRAM [VARIABLE=VALUE...]
"""

import base64
import json
import sys

from function_package import package


def main():
    name, program, *variables = sys.argv[1:]
    json.dump({
        "FunctionName": name,
        "Runtime": "provided.al2023",
        "Architectures": ["x86_64"],
        "Handler": "bootstrap",
        "Role": "arn:aws:iam::123456789012:role/e2e",
        "Timeout": 60,
        "MemorySize": 512,
        "Environment": {"Variables": dict(variable.split("=", 1) for variable in variables)},
        "Code": {"ZipFile": base64.b64encode(package(program)).decode()},
    }, sys.stdout)


if __name__ == "__main__":
    main()
