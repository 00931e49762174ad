#!/usr/bin/env python3
"""What CloudFormation makes of template.yaml, for `preflight` and for all tests in Python that read a template.

resolve.py [--partition PARTITION] [--region REGION] [PARAMETER=VALUE...]

prints the resources and outputs that there are with these parameters, as JSON. Resources are named as if CloudFormation had
made them in a stack called `soci` of the account 123456789012. Nothing is copied from the template: a function that is not
known here is an error. The template is TEMPLATE of the environment, or the one of this tree.
"""

import argparse
import functools
import json
import os
import pathlib
import re
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STACK = "soci"
ACCOUNT = "123456789012"
# A region of each partition, and where its services are. `preflight_test.py` holds it against the template and botocore.
PARTITIONS = {
    "aws": ("eu-west-1", "amazonaws.com"),
    "aws-cn": ("cn-north-1", "amazonaws.com.cn"),
    "aws-us-gov": ("us-gov-west-1", "amazonaws.com"),
    "aws-eusc": ("eusc-de-east-1", "amazonaws.eu"),
    "aws-iso": ("us-iso-east-1", "c2s.ic.gov"),
    "aws-iso-b": ("us-isob-east-1", "sc2s.sgov.gov"),
    "aws-iso-e": ("eu-isoe-west-1", "cloud.adc-e.uk"),
    "aws-iso-f": ("us-isof-south-1", "csp.hci.ic.gov"),
}
DIGEST = "sha256:" + "0123456789abcdef" * 4

# How the ARN of a resource goes on behind the service, and by which property a template may name it.
ARNS = {
    "AWS::Events::Archive": ("events", "archive/{}", "ArchiveName"),
    "AWS::Events::Rule": ("events", "rule/{}", "Name"),
    "AWS::ECR::Repository": ("ecr", "repository/{}", "RepositoryName"),
    "AWS::ECS::Cluster": ("ecs", "cluster/{}", "ClusterName"),
    "AWS::ECS::TaskDefinition": ("ecs", "task-definition/{}:1", "Family"),
    "AWS::Lambda::Function": ("lambda", "function:{}", "FunctionName"),
    "AWS::Logs::LogGroup": ("logs", "log-group:{}:*", "LogGroupName"),
    "AWS::SNS::Topic": ("sns", "{}", "TopicName"),
    "AWS::SQS::Queue": ("sqs", "{}", "QueueName"),
    "AWS::CloudWatch::Alarm": ("cloudwatch", "alarm:{}", "AlarmName"),
    "AWS::Scheduler::ScheduleGroup": ("scheduler", "schedule-group/{}", "Name"),
}
# Of these a reference is the ARN; of others it is the name.
REFERRED_BY_ARN = {"AWS::ECS::TaskDefinition", "AWS::SNS::Topic", "AWS::IAM::ManagedPolicy", "AWS::ECS::Service"}
NO_VALUE = object()


class Loader(yaml.SafeLoader):
    """Reads the short forms of CloudFormation's functions as the long ones."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        # As JSON has it.
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _function)


def load(path: pathlib.Path | None = None) -> dict[str, Any]:
    """The template, or another one, with long forms."""
    path = path or pathlib.Path(os.environ.get("TEMPLATE", ROOT / "template.yaml"))
    return yaml.load(path.read_text(encoding="utf-8"), Loader)


def accepted(template: dict[str, Any], parameter: str, value: str) -> bool:
    """Whether CloudFormation takes this value of a parameter."""
    declared = template["Parameters"][parameter]
    values = [part.strip() for part in value.split(",")] if declared["Type"] == "CommaDelimitedList" else [value]
    pattern, allowed = declared.get("AllowedPattern", ".*"), declared.get("AllowedValues")
    fits = all(re.fullmatch(pattern, item) and (allowed is None or item in map(str, allowed)) for item in values)
    return fits and len(value) <= int(declared.get("MaxLength", 4096))


class Stack:
    """The template with values of its parameters, in a region."""

    def __init__(self, template: dict[str, Any], given: dict[str, str] | None = None, partition: str = "aws",
                 region: str | None = None, account: str = ACCOUNT) -> None:
        given = given or {}
        if partition not in PARTITIONS:
            raise KeyError(f"the partition {partition} is not known here")
        usual, suffix = PARTITIONS[partition]
        self.template = template
        self.partition, self.region, self.account = partition, region or usual, account
        self.values = {
            "AWS::Partition": partition, "AWS::Region": self.region, "AWS::AccountId": account,
            "AWS::URLSuffix": suffix, "AWS::StackName": STACK,
            "AWS::StackId": f"arn:{partition}:cloudformation:{self.region}:{account}:stack/{STACK}/1",
        }
        image = f"{account}.dkr.ecr.{self.region}.{suffix}/tools/soci:1@{DIGEST}"
        for name, parameter in template["Parameters"].items():
            self.values[name] = str(parameter.get("Default", image))
        for name, value in given.items():
            if name not in self.values:
                raise KeyError(f"there is no parameter {name}")
            self.values[name] = value

    @functools.cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources that there are, by name."""
        return {
            name: {**resource, "Properties": self.resolve(resource.get("Properties", {}))}
            for name, resource in self.template["Resources"].items()
            if self.holds(resource.get("Condition"))
        }

    @functools.cached_property
    def outputs(self) -> dict[str, Any]:
        """The outputs that there are, by name."""
        return {
            name: self.resolve(output["Value"])
            for name, output in self.template.get("Outputs", {}).items()
            if self.holds(output.get("Condition"))
        }

    def property(self, name: str) -> dict[str, Any]:
        """One property of every resource that has it, by the resource's name."""
        return {
            resource: self.resolve(found["Properties"][name])
            for resource, found in self.template["Resources"].items()
            if name in found.get("Properties", {}) and self.holds(found.get("Condition"))
        }

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of all resources of a type, by name."""
        return {name: found["Properties"] for name, found in self.resources.items() if found["Type"] == kind}

    def arn(self, name: str) -> str:
        """A resource's ARN. That of a log group ends in `:*`, as CloudFormation gives it."""
        resource = self.template["Resources"][name]
        kind = resource["Type"]
        if kind in ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy"):
            return f"arn:{self.partition}:iam::{self.account}:{kind[10:].removeprefix('Managed').lower()}/{self.name(name)}"
        if kind == "AWS::ECS::Service":
            cluster = self.resolve(resource["Properties"]["Cluster"])
            return f"arn:{self.partition}:ecs:{self.region}:{self.account}:service/{cluster}/{self.name(name)}"
        if kind not in ARNS:
            raise KeyError(f"the ARN of a {kind} is not known here ({name})")
        service, path, _ = ARNS[kind]
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{path.format(self.name(name))}"

    def name(self, name: str) -> str:
        """The name that a resource has in the account."""
        resource = self.template["Resources"][name]
        own = resource.get("Properties", {}).get(ARNS.get(resource["Type"], (None, None, None))[2])
        own = self.resolve(own) if own is not None else NO_VALUE
        return f"{STACK}-{name}" if own is NO_VALUE else own

    def policies(self) -> dict[str, tuple[str, Any]]:
        """Every policy: whether it is of an `identity`, a `resource` or the `trust` of a role, and its document."""
        found: dict[str, tuple[str, Any]] = {}
        for name, role in self.of_type("AWS::IAM::Role").items():
            for policy in role.get("Policies", []):
                found[f"{name}.{policy['PolicyName']}"] = ("identity", policy["PolicyDocument"])
            found[f"{name}.trust"] = ("trust", role["AssumeRolePolicyDocument"])
        for name, policy in self.of_type("AWS::IAM::ManagedPolicy").items():
            found[name] = ("identity", policy["PolicyDocument"])
        for kind, member in (
            ("AWS::SQS::QueuePolicy", "PolicyDocument"), ("AWS::Logs::ResourcePolicy", "PolicyDocument"),
            ("AWS::Logs::LogGroup", "ResourcePolicyDocument"), ("AWS::ECR::Repository", "RepositoryPolicyText"),
        ):
            for name, resource in self.of_type(kind).items():
                if member in resource:
                    document = resource[member]
                    found[name] = ("resource", json.loads(document) if isinstance(document, str) else document)
        return found

    # Conditions.

    def holds(self, condition: Any) -> bool:
        """Whether a condition holds, by its name or as it is written; none does."""
        if condition is None:
            return True
        if isinstance(condition, str):
            return self.holds(self.template["Conditions"][condition])
        ((function, argument),) = condition.items()
        if function == "Condition":
            return self.holds(argument)
        if function == "Fn::Equals":
            return str(self.resolve(argument[0])) == str(self.resolve(argument[1]))
        if function == "Fn::Not":
            return not self.holds(argument[0])
        if function == "Fn::And":
            return all(self.holds(part) for part in argument)
        if function == "Fn::Or":
            return any(self.holds(part) for part in argument)
        raise KeyError(f"{function} is no condition that is known here")

    # Values.

    def resolve(self, value: Any) -> Any:
        """What CloudFormation makes of a value."""
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self.call(function, argument)
        resolved = {name: self.resolve(item) for name, item in value.items()}
        return {name: item for name, item in resolved.items() if item is not NO_VALUE}

    def call(self, function: str, argument: Any) -> Any:
        """The value of one function."""
        if function == "Ref":
            return self.reference(argument)
        if function == "Fn::GetAtt":
            return self.attribute(argument if isinstance(argument, str) else ".".join(argument))
        if function == "Fn::Sub":
            return self.substitute(argument)
        if function == "Fn::If":
            return self.resolve(argument[1] if self.holds(argument[0]) else argument[2])
        if function == "Fn::Join":
            return argument[0].join(map(str, self.resolve(argument[1])))
        if function == "Fn::Split":
            return self.resolve(argument[1]).split(argument[0])
        if function == "Fn::Select":
            return self.resolve(argument[1])[int(self.resolve(argument[0]))]
        if function == "Fn::FindInMap":
            table, first, second = (self.resolve(part) for part in argument[:3])
            found = self.template["Mappings"][table].get(first, {}).get(second)
            if found is None and len(argument) > 3:
                return self.resolve(argument[3]["DefaultValue"])
            if found is None:
                raise KeyError(f"{table} has no {first}, {second}")
            return self.resolve(found)
        if function == "Fn::GetAZs":
            return [self.region + "a", self.region + "b", self.region + "c"]
        raise KeyError(f"{function} is not known here")

    def reference(self, name: str) -> Any:
        """What `Ref` gives."""
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self.values:
            kind = self.template["Parameters"].get(name, {}).get("Type", "String")
            text = self.values[name]
            if kind.startswith("List<") or kind == "CommaDelimitedList":
                return [part.strip() for part in text.split(",")]
            return text
        kind = self.template["Resources"][name]["Type"]
        if kind == "AWS::SQS::Queue":
            suffix = self.values["AWS::URLSuffix"]
            return f"https://sqs.{self.region}.{suffix}/{self.account}/{self.name(name)}"
        return self.arn(name) if kind in REFERRED_BY_ARN else self.name(name)

    def attribute(self, path: str) -> Any:
        """What `Fn::GetAtt` gives."""
        name, attribute = path.split(".", 1)
        resource = self.template["Resources"][name]
        if resource["Type"] == "AWS::SSM::Parameter" and attribute == "Value":
            return self.resolve(resource["Properties"]["Value"])
        if attribute in ("Arn", "TopicArn", "ServiceArn"):
            return self.arn(name)
        if attribute in ("Name", "QueueName"):
            return self.name(name)
        if attribute == "RepositoryUri":
            return f"{self.account}.dkr.ecr.{self.region}.{self.values['AWS::URLSuffix']}/{self.name(name)}"
        return f"{self.name(name)}-{attribute}"

    def substitute(self, argument: Any) -> str:
        """What `Fn::Sub` gives."""
        text, own = argument if isinstance(argument, list) else (argument, {})

        def value(found: re.Match[str]) -> str:
            name = found.group(1)
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in own:
                return str(self.resolve(own[name]))
            return str(self.attribute(name) if "." in name else self.reference(name))

        return re.sub(r"\$\{([^}]+)\}", value, text)


def main() -> None:
    """Prints the stack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partition", default="aws")
    parser.add_argument("--region")
    parser.add_argument("parameters", nargs="*", metavar="PARAMETER=VALUE")
    given = parser.parse_args()
    parameters = dict(pair.split("=", 1) for pair in given.parameters)
    stack = Stack(load(), parameters, given.partition, given.region)
    print(json.dumps({"resources": stack.resources, "outputs": stack.outputs}, indent=1))


if __name__ == "__main__":
    main()
