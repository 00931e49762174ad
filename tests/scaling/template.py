"""The alarms, policies and metrics of a CloudFormation template, as a stack has them.

Short forms are read, conditions and references are resolved. What only AWS knows, the name of a queue, is the reference
itself in angle brackets: `<Queue.QueueName>`.
"""

import pathlib
import re
from typing import Any

import yaml

STACK = "soci"
PSEUDO = {
    "AWS::StackName": STACK, "AWS::Region": "eu-west-1", "AWS::AccountId": "123456789012", "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com", "AWS::NoValue": None,
}


class Loader(yaml.SafeLoader):
    """Reads the short forms as their long ones."""


def short_form(loader: Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", short_form)


class Template:
    """A template with values for its parameters."""

    def __init__(self, path: pathlib.Path, **parameters: str):
        self.document = yaml.load(path.read_text(encoding="utf-8"), Loader)
        declared = self.document["Parameters"]
        unknown = set(parameters) - set(declared)
        if unknown:
            raise KeyError(f"{path} has no parameter {unknown}")
        self.parameters = {name: parameters.get(name, one.get("Default", "")) for name, one in declared.items()}

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of all resources of a kind that the stack has, by their logical ids."""
        found = {}
        for name, resource in self.document["Resources"].items():
            if resource["Type"] == kind and self.holds(resource.get("Condition")):
                found[name] = self.resolve(resource["Properties"])
        return found

    def holds(self, condition: str | None) -> bool:
        return condition is None or self.truth(self.document["Conditions"][condition])

    def truth(self, value: Any) -> bool:
        (function, given), = value.items()
        if function == "Condition":
            return self.holds(given)
        if function == "Fn::Equals":
            return str(self.resolve(given[0])) == str(self.resolve(given[1]))
        if function == "Fn::Not":
            return not self.truth(given[0])
        return {"Fn::And": all, "Fn::Or": any}[function](map(self.truth, given))

    def resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not None]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (function, given), = value.items()
            if function == "Ref":
                return self.reference(given)
            if function.startswith("Fn::"):
                return self.function(function, given)
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not None}

    def reference(self, name: str) -> Any:
        if name in PSEUDO:
            return PSEUDO[name]
        return self.parameters.get(name, f"<{name}>")

    def function(self, name: str, given: Any) -> Any:
        if name == "Fn::If":
            return self.resolve(given[1] if self.holds(given[0]) else given[2])
        if name == "Fn::GetAtt":
            return f"<{'.'.join(given)}>"
        if name == "Fn::Sub":
            text, names = (given, {}) if isinstance(given, str) else (given[0], self.resolve(given[1]))
            put = lambda found: str(names.get(found[1], self.reference(found[1])))
            return re.sub(r"\$\{([^!}]+)\}", put, text)
        if name == "Fn::Join":
            return given[0].join(map(str, self.resolve(given[1])))
        # The rest makes nothing that scales or alarms.
        return f"<{name}>"
