"""What `preflight` asks AWS: preflight.py FOLDER ACCOUNT REGION PARTITION [PARAMETER=VALUE...]

Fills in the template for this account and region, and writes what is asked into files of the folder: the template itself
(`template.json`, and `body.json` for a request without a bucket) with its parameters, the event patterns with sample events,
the policies, and the metrics of alarms, scaling and dashboard. `plan.tsv` has a line for each question: its kind, what it is
about, the file, and what goes with it.
"""

import json
import os
import pathlib
import re
import sys
from typing import Any

import resolve
import samples

FOLDER = pathlib.Path(sys.argv[1])
# At most so many questions of each kind, for tests.
FEW = int(os.environ.get("PREFLIGHT_FEW", "0"))
# Of this kind of resource policies Access Analyzer knows more than of others.
TRUST = "AWS::IAM::AssumeRolePolicyDocument"


# What CloudFormation takes in a request.
MAX_BODY = 51_200


def without_words(template: dict[str, Any]) -> dict[str, Any]:
    """The template without what only people read, which makes nothing."""
    found = {name: section for name, section in template.items() if name != "Metadata"}
    for section in ("Parameters", "Outputs"):
        found[section] = {
            name: {key: value for key, value in entry.items() if key != "Description"}
            for name, entry in template.get(section, {}).items()
        }
    return found


def write(name: str, content: Any) -> int:
    """Writes a file of JSON, as YAML has more bytes; gives their number."""
    return (FOLDER / name).write_bytes(json.dumps(content, separators=(",", ":"), default=str).encode())


def write_templates(template: dict[str, Any], given: dict[str, str]) -> str:
    """Writes the template and what is sent of it without a bucket; says what that is."""
    def parameters(of: dict[str, Any]) -> list[dict[str, str]]:
        return [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items() if name in of["Parameters"]]

    write("template.json", template)
    write("parameters.json", parameters(template))
    core = resolve.ROOT / "templates/core.yaml"
    found = [("the template", template)] + ([("templates/core.yaml alone", resolve.load(core))] if core.exists() else [])
    for name, one in found:
        if write("body.json", without_words(one)) <= MAX_BODY:
            write("body-parameters.json", parameters(one))
            return name
    return ""


class Plan:
    """The questions so far."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.files = 0

    def file(self, content: Any, ending: str = "") -> str:
        """Writes a file of JSON; gives its name."""
        self.files += 1
        name = f"{self.files}{ending}.json"
        write(name, content)
        return name

    def ask(self, kind: str, about: str, *more: str) -> None:
        """Adds a question. An empty field would be lost when the shell reads the line."""
        if FEW and sum(line.startswith(kind + "\t") for line in self.lines) >= FEW:
            return
        self.lines.append("\t".join(part or "-" for part in (kind, about, *more)))


def queries(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The metrics of an alarm or of a policy of scaling as GetMetricData takes them."""
    found = []
    for metric in metrics:
        query = {"Id": metric["Id"], "ReturnData": metric.get("ReturnData", True)}
        if "Expression" in metric:
            query["Expression"] = metric["Expression"]
            query |= {name: int(metric[name]) for name in ("Period",) if name in metric}
        else:
            # Application Auto Scaling fixes the period, and a template cannot.
            query["MetricStat"] = {"Period": 60, **metric["MetricStat"]}
            query["MetricStat"]["Period"] = int(query["MetricStat"]["Period"])
        found.append(query)
    return found


def metrics_of(stack: resolve.Stack) -> dict[str, list[dict[str, Any]]]:
    """Everything that CloudWatch is to calculate, by the resource that asks for it."""
    found = {
        name: alarm["Metrics"] for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items() if "Metrics" in alarm
    }
    for name, policy in stack.of_type("AWS::ApplicationAutoScaling::ScalingPolicy").items():
        tracked = policy.get("TargetTrackingScalingPolicyConfiguration", {}).get("CustomizedMetricSpecification", {})
        if "Metrics" in tracked:
            found[name] = tracked["Metrics"]
    for name, dashboard in stack.of_type("AWS::CloudWatch::Dashboard").items():
        expressions = re.findall(r'"expression":("(?:[^"\\]|\\.)*")', dashboard["DashboardBody"])
        if expressions:
            found[name] = [
                {"Id": f"e{number}", "Expression": json.loads(expression)} for number, expression in enumerate(expressions)
            ]
    return {name: queries(metrics) for name, metrics in found.items()}


def main() -> None:
    """Writes the plan."""
    account, region, partition = sys.argv[2:5]
    given = dict(pair.split("=", 1) for pair in sys.argv[5:])
    template = resolve.load()
    if partition not in resolve.PARTITIONS:
        sys.exit(f"the partition {partition} is not known here")
    suffix = resolve.PARTITIONS[partition][1]
    given.setdefault("ImageUri", f"{account}.dkr.ecr.{region}.{suffix}/soci-index-builder:preflight")
    # With everything that can be asked for, unless somebody says otherwise.
    given.setdefault("BackfillArchiveDays", "7")
    try:
        stack = resolve.Stack(template, given, partition, region, account)
    except KeyError as error:
        sys.exit(str(error.args[0]))

    plan = Plan()
    plan.ask("suffix", suffix)
    plan.ask("body", write_templates(template, given))
    sampled = {"PushRule": samples.of_pushes, "TaskFailureRule": samples.of_tasks}
    for name, pattern in stack.property("EventPattern").items():
        file = plan.file(pattern)
        plan.ask("pattern", name, file)
        for what, (event, through) in sampled.get(name, lambda _: {})(stack).items():
            plan.ask("event", f"{name}: {what}", file, plan.file(event, "-through" if through else "-kept-out"),
                     "True" if through else "False")
    for name, (kind, document) in stack.policies().items():
        plan.ask("policy", name, plan.file(document), "IDENTITY_POLICY" if kind == "identity" else "RESOURCE_POLICY",
                 TRUST if kind == "trust" else "")
    for name, metrics in metrics_of(stack).items():
        plan.ask("metrics", name, plan.file(metrics))
    cores = int(stack.values["MaxTasks"]) * int(stack.values["TaskCpu"]) / 1024
    plan.ask("needs", "fargate-vcpus", f"{cores:g}")
    plan.ask("needs", "own-vpc", "1" if stack.of_type("AWS::EC2::VPC") else "0")
    plan.ask("needs", "log-policies", str(len(stack.of_type("AWS::Logs::ResourcePolicy"))))
    (FOLDER / "plan.tsv").write_text("".join(line + "\n" for line in plan.lines), encoding="utf-8")


if __name__ == "__main__":
    main()
