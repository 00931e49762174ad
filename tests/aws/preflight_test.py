"""The cases of `tests/aws/run preflight`: preflight_test.py WORK, with a Python that has botocore

`preflight` with an `aws` that answers as it is told (fake_aws.py). Every call has to be one that AWS has: the operation, its
parameters and their content are held against botocore's models, and so is what the answers are taken from. Whatever happens
in between, nothing stays, and nothing is deleted that was there before.
"""

import functools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import botocore.session
import botocore.validate
import jmespath
from botocore import xform_name

import resolve
from cases import Failed, none, run

WORK = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent
SESSION = botocore.session.get_session()
# What the AWS CLI calls otherwise, and what it adds to every command.
SERVICES = {"s3api": "s3"}
OUTPUT_OPTIONS = {"--output", "--query"}
ACCOUNT = "111122223333"

GOOD: dict[str, Any] = {
    "configure get": "eu-west-1",
    "sts get-caller-identity": {"Account": ACCOUNT, "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/me"},
    "cloudformation create-change-set": {"Id": "arn:aws:cloudformation:eu-west-1:111122223333:changeSet/preflight/1"},
    "cloudformation describe-change-set": {
        "Status": "CREATE_COMPLETE", "StatusReason": "none",
        "Changes": [{"ResourceChange": {"LogicalResourceId": name}} for name in ("Queue", "PushRule")]},
    "cloudformation describe-events": {"OperationEvents": [{
        "LogicalResourceId": "Queue", "ValidationName": "NAME_CONFLICT", "ValidationStatus": "SKIPPED",
        "ValidationStatusReason": "no name"}]},
    "cloudformation describe-stacks": {"Stacks": [{"StackStatus": "REVIEW_IN_PROGRESS"}]},
    "accessanalyzer validate-policy": {"findings": []},
    "cloudwatch get-metric-data": {"Messages": [], "MetricDataResults": [{"Id": "e0", "Messages": []}]},
    "service-quotas get-service-quota": {"Quota": {"Value": 100.0}},
    "ec2 describe-vpcs": {"Vpcs": [{"VpcId": "vpc-1"}]},
    "logs describe-resource-policies": {"resourcePolicies": [{"policyName": "one"}]},
    "iam get-role": {"Role": {"Arn": f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"}},
}


class Run:
    """A run of `preflight` with these answers in the place of the good ones."""

    def __init__(self, answers: dict[str, Any] | None = None, *arguments: str, template: pathlib.Path | None = None,
                 interrupt_at: str | None = None, few: int = 3) -> None:
        shutil.rmtree(WORK, ignore_errors=True)
        (WORK / "bin").mkdir(parents=True)
        (WORK / "temporary").mkdir()
        program = WORK / "bin/aws"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{HERE}/fake_aws.py" "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        (WORK / "answers.json").write_text(json.dumps({**GOOD, **(answers or {})}), encoding="utf-8")
        (WORK / "calls.jsonl").touch()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {
            # Its Python has PyYAML.
            "PATH": f"{WORK}/bin:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}", "FAKE_AWS": str(WORK),
            "FAKE_AWS_PATH": str(pathlib.Path(jmespath.__file__).parent.parent), "TMPDIR": str(WORK / "temporary"),
            "PREFLIGHT_PAUSE": "0.1", "PREFLIGHT_PATIENCE": "20",
            "PREFLIGHT_FEW": str(few),
        }
        if template:
            environment["TEMPLATE"] = str(template)
        command = [str(HERE / "preflight"), *arguments]
        with (WORK / "output").open("wb") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL)
            if interrupt_at:
                until = time.monotonic() + 60
                while interrupt_at not in (WORK / "calls.jsonl").read_text(encoding="utf-8"):
                    if time.monotonic() > until or process.poll() is not None:
                        raise Failed(f"{interrupt_at} was not called")
                    time.sleep(0.05)
                process.send_signal(signal.SIGTERM)
            self.code = process.wait()
        self.output = (WORK / "output").read_text(encoding="utf-8")
        lines = (WORK / "calls.jsonl").read_text(encoding="utf-8").splitlines()
        self.calls: list[list[Any]] = [json.loads(line) for line in lines]

    def names(self) -> list[str]:
        """Service and operation of each call."""
        return [f"{call[0]} {call[1]}" for call in self.calls]

    def expect(self, code: int, *parts: str) -> "Run":
        """Fails unless it has ended so, and has said that."""
        missing = [part for part in parts if part not in self.output]
        if self.code != code or missing:
            raise Failed(f"exit code {self.code}, expected {code}; missing: {missing}\n{self.output}")
        return self

    def leaves_nothing(self, stack: bool = True) -> "Run":
        """Fails unless change set and stack are deleted, and the folder is gone."""
        names = self.names()
        for operation in ("delete-change-set", "delete-stack"):
            if names.count(f"cloudformation {operation}") != int(stack):
                raise Failed(f"{operation} was called {names.count(f'cloudformation {operation}')} times\n{self.output}")
        none(f"{left} is left" for left in os.listdir(WORK / "temporary"))
        of_stack = {argument for call in self.calls for argument, before in zip(call[1:], call, strict=False)
                    if before == "--stack-name"}
        if stack and (len(of_stack) != 1 or not next(iter(of_stack)).startswith("soci-preflight-")):
            raise Failed(f"stacks: {of_stack}")
        return self


@functools.cache
def whole() -> Run:
    """A run in which all is well and everything is asked."""
    return Run(None, "--bucket", "mine", "SociRepositoryImageTagFilters=prod*:*", few=0).expect(0, "nothing failed").leaves_nothing()


def operation_of(call: list[Any]) -> Any:
    """botocore's model of the operation that a call is."""
    service = SERVICES.get(call[0], call[0])
    model = SESSION.get_service_model(service)
    by_name = {xform_name(name, "-"): name for name in model.operation_names}
    if call[1] not in by_name:
        raise Failed(f"there is no operation {call[0]} {call[1]}")
    return model.operation_model(by_name[call[1]])


def parameters_of(call: list[Any]) -> tuple[dict[str, Any], str | None]:
    """The parameters of a call as the API takes them, and its query."""
    shape = operation_of(call).input_shape
    members = {f"--{xform_name(name, '-')}": (name, member) for name, member in (shape.members if shape else {}).items()}
    found: dict[str, Any] = {}
    query, rest = None, call[2:]
    while rest:
        option = rest.pop(0)
        values = []
        while rest and not (isinstance(rest[0], str) and rest[0].startswith("--")):
            values.append(rest.pop(0))
        if option in OUTPUT_OPTIONS:
            query = values[0] if option == "--query" else query
            continue
        if option not in members:
            raise Failed(f"{call[0]} {call[1]} has no {option}")
        name, member = members[option]
        (value,) = values
        text = value["file"] if isinstance(value, dict) else value
        if member.type_name in ("structure", "list"):
            found[name] = json.loads(text) if isinstance(value, dict) else values
        else:
            found[name] = text
    return found, query


def unknown_members(value: Any, shape: Any, path: str) -> list[str]:
    """What an answer has that the API has not."""
    if shape.type_name == "structure":
        return [f"{path} has no {name}" for name in value if name not in shape.members] + [
            wrong for name, item in value.items() if name in shape.members
            for wrong in unknown_members(item, shape.members[name], f"{path}.{name}")]
    if shape.type_name == "list":
        return [wrong for item in value for wrong in unknown_members(item, shape.member, f"{path}[]")]
    return []


def every_call_is_one_of_the_api() -> None:
    """Operations, parameters and their content, and what answers are taken from."""
    result = whole()
    wrong, seen = [], set()
    for call in result.calls:
        # These two are the CLI's own.
        if call[0] in ("configure", "s3"):
            continue
        operation = operation_of(call)
        parameters, query = parameters_of(call)
        report = botocore.validate.ParamValidator().validate(
            {name: value for name, value in parameters.items() if name not in ("StartTime", "EndTime")}
            | {name: 0 for name in ("StartTime", "EndTime") if name in parameters}, operation.input_shape)
        if report.has_errors():
            wrong.append(f"{call[0]} {call[1]}: {report.generate_report()}")
        answer = GOOD.get(f"{call[0]} {call[1]}")
        if answer and query and (call[1], query) not in seen:
            seen.add((call[1], query))
            wrong += unknown_members(answer, operation.output_shape, f"{call[0]} {call[1]}")
            if jmespath.search(query, answer) is None:
                wrong.append(f"{call[0]} {call[1]}: {query} finds nothing in {answer}")
    none(wrong)
    print(f"    {len(result.calls)} calls, {len(set(result.names()))} operations")


def everything_of_the_template_is_asked() -> None:
    """All patterns, policies and expressions; and the samples that go through and that do not."""
    result = whole()
    stack = resolve.Stack(resolve.load(), {"BackfillArchiveDays": "7"}, account=ACCOUNT)
    names = result.names()
    if names.count("accessanalyzer validate-policy") != len(stack.policies()):
        raise Failed(f"not every policy of {sorted(stack.policies())} is asked about")
    patterns = stack.property("EventPattern")
    none(f"the pattern of {name} is not asked about" for name in patterns
         if f"EventBridge takes the pattern of {name}" not in result.output)
    result.expect(0, "PushRule: ECR Image Action: goes through", "PushRule: ECR Image Action, another account: does not go through",
                  "TaskFailureRule: a task that does not start: goes through")
    calculated = [name for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items() if "Metrics" in alarm]
    none(f"the expressions of {name} are not asked about" for name in [*calculated, "Dashboard"]
         if f"CloudWatch calculates {name}" not in result.output)
    (given,) = [parameters_of(call)[0]["Parameters"] for call in result.calls if call[1] == "create-change-set"]
    if {"ParameterKey": "SociRepositoryImageTagFilters", "ParameterValue": "prod*:*"} not in given:
        raise Failed(f"the parameters are {given}")


def what_aws_refuses_is_told() -> None:
    """Each in one line, with what AWS said, and the rest goes on."""
    Run({
        "cloudformation describe-change-set": {"Status": "FAILED", "StatusReason": "Template error", "Changes": []},
        "cloudformation describe-events": {"OperationEvents": [{
            "LogicalResourceId": "Queue", "ValidationName": "PROPERTY_VALIDATION", "ValidationStatus": "FAILED",
            "ValidationStatusReason": "no such property"}]},
        "events test-event-pattern": {"error": "InvalidEventPatternException"},
        "accessanalyzer validate-policy": {"findings": [{
            "findingType": "ERROR", "issueCode": "INVALID_ACTION", "findingDetails": "no such action"}]},
        "cloudwatch get-metric-data": {"error": "ValidationError"},
        "service-quotas get-service-quota": {"Quota": {"Value": 2.0}},
        "iam get-role": {"error": "NoSuchEntity"},
        "logs describe-resource-policies": {"resourcePolicies": [{"policyName": str(number)} for number in range(11)]},
    }).expect(
        1, "FAIL CloudFormation takes templates/core.yaml alone", "FAILED: Template error", "no such property",
        "FAIL EventBridge takes the pattern of PushRule", "FAIL Access Analyzer finds nothing in FilterRole",
        "INVALID_ACTION", "FAIL CloudWatch calculates ", "FAIL vCPUs of Fargate", "FAIL AWSServiceRoleForECS",
        "create-service-linked-role", "failed",
    ).leaves_nothing()
    Run({"events test-event-pattern": {"Result": True}}).expect(1, "EventBridge says", "failed").leaves_nothing()


def what_may_not_be_asked_is_told_and_no_failure() -> None:
    """Somebody without a permission learns the rest."""
    denied = {"error": "AccessDeniedException"}
    operations = [
        "cloudformation create-change-set", "cloudwatch get-metric-data", "accessanalyzer validate-policy",
        "service-quotas get-service-quota", "ec2 describe-vpcs", "iam get-role", "events test-event-pattern",
    ]
    none_there = {"cloudformation describe-stacks": {"error": "ValidationError"}}
    result = Run({name: denied for name in operations} | none_there)
    result.expect(0, "??  CloudFormation takes templates/core.yaml alone", "??  CloudWatch calculates", "AccessDeniedException",
                  "??  AWSServiceRoleForECS is there", "nothing failed")
    if "cloudformation delete-stack" in result.names():
        raise Failed("a stack was deleted that is not there")


def an_interruption_leaves_nothing() -> None:
    """While CloudFormation still makes the change set."""
    pending = {"cloudformation describe-change-set": {"Status": "CREATE_IN_PROGRESS", "StatusReason": "", "Changes": []}}
    Run(pending, interrupt_at="describe-change-set").expect(143).leaves_nothing()


def a_stack_that_is_more_than_a_change_set_is_left_alone() -> None:
    """Whatever it is, it is not what was made."""
    result = Run({"cloudformation describe-stacks": {"Stacks": [{"StackStatus": "CREATE_COMPLETE"}]}})
    if "cloudformation delete-stack" in result.names() or "cloudformation execute-change-set" in result.names():
        raise Failed("a stack was deleted that is more than a change set")


def a_large_template_goes_through_a_bucket() -> None:
    """And is deleted there; without a bucket the rest is asked all the same."""
    template = resolve.load()
    template["Mappings"]["Filling"] = {"x" * 60: {"x" * 60: "x" * 60_000}}
    path = WORK.parent / "large.yaml"
    path.write_text(json.dumps(template, default=str), encoding="utf-8")
    alone = (HERE.parent.parent / "templates/core.yaml").exists()
    result = Run(template=path).expect(0, "??  CloudFormation takes the whole template", "--bucket", "nothing failed")
    result.leaves_nothing(alone)
    if alone:
        result.expect(0, "ok  CloudFormation takes templates/core.yaml alone")
        (sent,) = [json.loads(parameters_of(call)[0]["TemplateBody"]) for call in result.calls
                   if call[1] == "create-change-set"]
        if "PushRule" not in sent["Resources"] or "Service" in sent["Resources"]:
            raise Failed(f"what was sent has {sorted(sent['Resources'])}")
    result = Run(None, "--bucket", "mine", template=path).expect(0, "ok  CloudFormation takes the template").leaves_nothing()
    copied = [call[-1] for call in result.calls if call[:2] == ["s3", "cp"]]
    removed = [call[-1] for call in result.calls if call[:2] == ["s3", "rm"]]
    (created,) = [parameters_of(call)[0] for call in result.calls if call[1] == "create-change-set"]
    if copied != removed or len(copied) != 1:
        raise Failed(f"{copied} was copied, {removed} removed")
    key = copied[0].removeprefix("s3://mine/")
    if created.get("TemplateURL") != f"https://mine.s3.eu-west-1.amazonaws.com/{key}":
        raise Failed(f"the template is at {created.get('TemplateURL')}")


def partitions_are_those_of_the_template_and_of_botocore() -> None:
    """One table for all tests in Python, and a run in a partition that is not the first."""
    template = resolve.load()
    if set(resolve.PARTITIONS) != set(template["Mappings"]["Consoles"]):
        raise Failed(f"the template knows {sorted(template['Mappings']['Consoles'])}")
    published = {one["id"]: one for one in SESSION.get_component("data_loader").load_data("partitions")["partitions"]}
    wrong = []
    for partition, (region, suffix) in resolve.PARTITIONS.items():
        there = published[partition]
        if there["outputs"]["dnsSuffix"] != suffix or not re.fullmatch(there["regionRegex"], region):
            wrong.append(f"{partition}: {there['outputs']['dnsSuffix']}, {there['regionRegex']}")
        if not resolve.accepted(template, "ImageUri", f"{ACCOUNT}.dkr.ecr.{region}.{suffix}/soci:1"):
            wrong.append(f"{partition}: the template refuses images")
        answers = {"sts get-caller-identity": {"Account": ACCOUNT, "Arn": f"arn:{partition}:sts::{ACCOUNT}:assumed-role/admin/me"}}
        result = Run(answers, "--bucket", "mine", few=1).expect(0, "ok  CloudFormation takes the template")
        (created,) = [parameters_of(call)[0] for call in result.calls if call[1] == "create-change-set"]
        if not created["TemplateURL"].startswith(f"https://mine.s3.eu-west-1.{suffix}/"):
            wrong.append(f"{partition}: the template is at {created['TemplateURL']}")
    none(wrong)
    answers = {"sts get-caller-identity": {"Account": ACCOUNT, "Arn": f"arn:aws-moon:sts::{ACCOUNT}:assumed-role/admin/me"}}
    Run(answers).expect(3, "the partition aws-moon is not known here").leaves_nothing(False)


def wrong_usage_and_no_credentials_are_told() -> None:
    """Before anything is asked or made."""
    Run(None, "--force").expect(2, "usage:")
    Run({"sts get-caller-identity": {"error": "ExpiredToken"}}).expect(3, "no credentials").leaves_nothing(False)
    Run(None, "NoSuchParameter=1").expect(3, "there is no parameter NoSuchParameter").leaves_nothing(False)


def main() -> None:
    """Runs the cases."""
    cases: list[tuple[str, Callable[[], None]]] = [
        ("preflight: every call is one of the API", every_call_is_one_of_the_api),
        ("preflight: everything of the template is asked about", everything_of_the_template_is_asked),
        ("preflight: what AWS refuses is told", what_aws_refuses_is_told),
        ("preflight: what may not be asked is told, and no failure", what_may_not_be_asked_is_told_and_no_failure),
        ("preflight: an interruption leaves nothing", an_interruption_leaves_nothing),
        ("preflight: a stack that is more than a change set is left alone",
         a_stack_that_is_more_than_a_change_set_is_left_alone),
        ("preflight: a large template goes through a bucket", a_large_template_goes_through_a_bucket),
        ("preflight: partitions are those of the template and of botocore", partitions_are_those_of_the_template_and_of_botocore),
        ("preflight: wrong usage and missing credentials are told", wrong_usage_and_no_credentials_are_told),
    ]
    run(cases)


if __name__ == "__main__":
    main()
