#!/usr/bin/env python3
"""An `aws` for tests: records each call, and answers by a file.

FAKE_AWS is a folder: `calls.jsonl` gets a line for each call, its arguments with what is in the files that they name;
`answers.json` has by service and operation what AWS answers, from which --query takes its part, or {"error": "..."}.
"""

import json
import os
import pathlib
import sys

# Quick to start: only what is needed of the environment that has botocore.
sys.path += [path for path in os.environ.get("FAKE_AWS_PATH", "").split(":") if path]
import jmespath  # noqa: E402  pylint: disable=wrong-import-position


def shown(value: object) -> str:
    """A value as the AWS CLI writes text: lists in lists are lines."""
    if isinstance(value, list):
        if any(isinstance(item, list) for item in value):
            return "\n".join(shown(item) for item in value)
        return "\t".join(shown(item) for item in value)
    return str(value)


def main() -> int:
    """One call."""
    folder = pathlib.Path(os.environ["FAKE_AWS"])
    arguments = [
        {"file": pathlib.Path(argument[7:]).read_text(encoding="utf-8"), "name": argument[7:].rsplit("/", 1)[-1]}
        if argument.startswith("file://") else argument
        for argument in sys.argv[1:]
    ]
    with (folder / "calls.jsonl").open("a", encoding="utf-8") as calls:
        calls.write(json.dumps(arguments) + "\n")
    service, operation = sys.argv[1:3]
    answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    if service in ("configure", "s3"):
        print(answers.get(f"{service} {operation}", ""))
        return 0
    answer = answers.get(f"{service} {operation}", {})
    if operation == "test-event-pattern" and not answer:
        named = [argument["name"] for argument in arguments if isinstance(argument, dict)]
        answer = {"Result": any("through" in name for name in named)}
    if "error" in answer:
        print(f"\nAn error occurred ({answer['error']}) when calling the operation: refused", file=sys.stderr)
        return 254
    if "--query" in sys.argv:
        text = shown(jmespath.search(sys.argv[sys.argv.index("--query") + 1], answer))
        if text:
            print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
