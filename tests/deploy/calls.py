"""Holds the calls that ./deploy made against AWS's own models.

    python3 tests/deploy/calls.py CALLS.jsonl

Each call is `SERVICE OPERATION`, each option a parameter of it, each structured value fits the model, and each name in a
query is one of the answer's: botocore has what `aws` is made of. What `aws` makes itself (`cloudformation deploy`, `s3 rm`, `configure`) is in CUSTOM, from its
own documentation, as are the options that every call takes.
"""

import json
import sys
from typing import Any

import botocore.session
import jmespath
from botocore import xform_name
from botocore.exceptions import UnknownServiceError, WaiterConfigError

GLOBAL = {"--output", "--query", "--region", "--no-paginate", "--profile"}
CUSTOM = {
    ("cloudformation", "deploy"): {
        "--stack-name", "--template-file", "--s3-bucket", "--s3-prefix", "--capabilities", "--parameter-overrides",
        "--no-fail-on-empty-changeset", "--disable-rollback", "--tags", "--role-arn",
    },
    ("s3", "rm"): {"--recursive"},
    ("configure", "get"): set(),
    ("configure", "export-credentials"): {"--format"},
}
# Options that `aws` gives for a flag of the model.
FLAGS = {"--force"}


def options(words: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            found[word] = []
        elif found:
            found[list(found)[-1]].append(word)
    return found


def shorthand(text: str) -> Any:
    """A value as `aws` reads it: JSON, or Key=Value with commas between."""
    if text.startswith(("{", "[")):
        return json.loads(text)
    if "=" in text:
        return {key: True if value == "true" else value for key, value in (part.split("=", 1) for part in text.split(","))}
    return text


def problems_of(value: Any, shape: Any, where: str) -> list[str]:
    if shape.type_name == "structure":
        if not isinstance(value, dict):
            return [f"{where} is no structure"]
        unknown = [f"{where} has no {name}" for name in value if name not in shape.members]
        missing = [f"{where} lacks {name}" for name in shape.required_members if name not in value]
        inner = [problem for name, one in value.items() if name in shape.members
                 for problem in problems_of(one, shape.members[name], f"{where}.{name}")]
        return unknown + missing + inner
    if shape.type_name == "list":
        listed = value if isinstance(value, list) else [value]
        return [problem for one in listed for problem in problems_of(one, shape.member, where)]
    allowed = getattr(shape, "enum", None)
    return [f"{where} cannot be {value}"] if allowed and value not in allowed else []


class Listed:
    """A list that a query makes."""

    type_name = "list"

    def __init__(self, member: Any) -> None:
        self.member = member


class Query:
    """A query of `aws`, followed through the shape of an answer. What a name is not known of has the shape None."""

    def __init__(self, text: str, shape: Any) -> None:
        self.problems: list[str] = []
        self.follow(jmespath.compile(text).parsed, shape)

    def element(self, shape: Any, what: str) -> Any:
        if shape is not None and shape.type_name != "list":
            self.problems.append(f"--query takes {what} of {shape.name}, which is no list")
            return None
        return shape and shape.member

    def follow(self, node: dict[str, Any], shape: Any) -> Any:
        """The shape of what a part of the query gives."""
        kind, children = node["type"], node["children"]
        if kind == "field":
            if shape is None:
                return None
            if shape.type_name != "structure" or node["value"] not in shape.members:
                self.problems.append(f"--query has {node['value']}, which {getattr(shape, 'name', 'a list')} has not")
                return None
            return shape.members[node["value"]]
        if kind in ("subexpression", "index_expression", "pipe"):
            for child in children:
                shape = self.follow(child, shape)
            return shape
        if kind == "index":
            return self.element(shape, "an element")
        if kind == "flatten":
            inner = self.element(self.follow(children[0], shape), "all")
            return inner if inner is not None and inner.type_name == "list" else Listed(inner)
        if kind == "projection":
            return Listed(self.follow(children[1], self.element(self.follow(children[0], shape), "each")))
        if kind == "filter_projection":
            member = self.element(self.follow(children[0], shape), "some")
            self.follow(children[2], member)
            return Listed(self.follow(children[1], member))
        if kind in ("identity", "current"):
            return shape
        if kind not in ("literal", "multi_select_list", "comparator", "function_expression", "and_expression", "or_expression", "not_expression"):
            raise KeyError(f"{kind} of a query is not known here")
        for child in children:
            self.follow(child, shape)
        return Listed(None) if kind == "multi_select_list" else None


def check(session: Any, words: list[str]) -> list[str]:
    service, operation = words[0], words[1]
    every = options(words[2:])
    given = {name: values for name, values in every.items() if name not in GLOBAL}
    if (service, operation) in CUSTOM:
        return [f"there is no {name}" for name in given if name not in CUSTOM[service, operation]]
    try:
        model = session.get_service_model("s3" if service == "s3api" else service)
    except UnknownServiceError:
        return ["there is no such service"]
    if operation == "wait":
        try:
            waiter = session.get_waiter_model(service)
            names = {xform_name(name, "-") for name in waiter.waiter_names}
        except (WaiterConfigError, ValueError) as error:
            return [str(error)]
        return [] if words[2] in names else [f"nothing waits for {words[2]}"]
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    if operation not in operations:
        return ["there is no such operation"]
    found = model.operation_model(operations[operation])
    asked = every.get("--query", [])
    queried = [problem for text in asked for problem in Query(text, found.output_shape).problems]
    shape = found.input_shape
    members = {"--" + xform_name(name, "-"): name for name in shape.members}
    problems = queried + [f"there is no {name}" for name in given if name not in members]
    problems += [f"{name} is missing" for name in ("--" + xform_name(required, "-") for required in shape.required_members)
                 if name not in given]
    for name, values in given.items():
        if name in members and name not in FLAGS:
            if not values:
                problems.append(f"{name} has no value")
            parsed = [shorthand(value) for value in values]
            member = shape.members[members[name]]
            if member.type_name == "list":
                # A list may be one value, as JSON.
                parsed = [one for value in parsed for one in (value if isinstance(value, list) else [value])]
            problems += problems_of(parsed if member.type_name == "list" else parsed[0], member, name)
    return problems


def main() -> int:
    with open(sys.argv[1]) as file:
        calls = [json.loads(line)["words"] for line in file]
    session = botocore.session.get_session()
    # A query with a mistake is found.
    for text in ("Stacks[0].StackStatsu", "Stack[].StackName", "Stacks[?StackNam!='soci'].StackName", "Stacks[].[StackName,Statu]",
                 "Stacks[0].Outputs[?OutputKey=='x'].Value | [0]", "Stacks.StackName", "Stacks[?contains(StackNam, 'x')]",
                 "Stacks[0].[[['StackStatus',StackStatus]],Parameters[].[Key]][]"):
        if len(check(session, ["cloudformation", "describe-stacks", "--query", text])) != 1:
            print(f"nothing is said of {text}")
            return 1
    seen: set[str] = set()
    queries: set[str] = set()
    wrong: dict[str, str] = {}
    for words in calls:
        seen.add(" ".join(words[:2]))
        queries |= set(options(words).get("--query", []))
        for problem in check(session, words):
            wrong.setdefault(f"aws {' '.join(words[:2])}: {problem}", " ".join(words))
    for problem, example in wrong.items():
        print(f"{problem}\n    {example[:300]}")
    print(f"{len(calls)} calls of {len(seen)} kinds, with {len(queries)} queries: {', '.join(sorted(seen))}")
    return 1 if wrong or len(seen) < 20 or len(queries) < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
