"""taskcat with the repository's configuration and hook, and no account.

taskcat itself reads .taskcat.yml, uploads, creates the stacks in every region, and calls the hook; AWS is moto for it, in this
process. For the hook and ./deploy it is the stand-in of tests/deploy, with an account for each region.
"""

import ast
import json
import marshal
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/deploy"), str(ROOT / "tests/aws")]
os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1",
               "DEPLOY_POLL_SECONDS": "0.1", "DEPLOY_SMOKE_SECONDS": "60", "HOME": "/nonexistent"}
for variable in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
    os.environ.pop(variable, None)

# moto loads all its services for CloudFormation, and API Gateway's asks for a library that excludes one of taskcat's.
sys.modules |= {f"openapi_spec_validator{part}": MagicMock() for part in ("", ".validation", ".validation.exceptions")}

import boto3  # noqa: E402
import moto  # noqa: E402
import taskcat._tui  # noqa: E402
import yaml  # noqa: E402
from taskcat.exceptions import TaskCatException  # noqa: E402
from taskcat.testing import CFNTest  # noqa: E402

import cases as deploy_cases  # noqa: E402
import resolve  # noqa: E402
import taskcat_plugin_smoke  # noqa: E402

CASES: list[Callable[["World"], None]] = []
SSM = "/soci-index-builder/taskcat/"


def case(function: Callable[["World"], None]) -> Callable[["World"], None]:
    CASES.append(function)
    return function


class World:
    """A project that taskcat reads, and an account for each of its regions."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.project = folder, folder / "project"
        self.project.mkdir()
        shutil.copy(ROOT / ".taskcat.yml", self.project)
        self.config = yaml.safe_load((ROOT / ".taskcat.yml").read_text())
        self.regions: list[str] = self.config["project"]["regions"]
        # With all parameters, and next to nothing that moto would have to make.
        parameters = resolve.load(ROOT / "template.yaml")["Parameters"]
        resources = {"Queue": {"Type": "AWS::SQS::Queue"}}
        (self.project / "template.yaml").write_text(json.dumps({"Parameters": parameters, "Resources": resources}))
        (folder / "bin").mkdir()
        (folder / "programs").mkdir()
        for name, place in (("aws", "bin/aws"), ("program", "bin/soci-index-builder")):
            deploy_cases.stand_in(name, folder / "programs" / name)
            (folder / place).write_text(
                "#!/bin/sh\nregion=$AWS_REGION last=''\n"
                'for word; do [ "$last" != --region ] || region=$word; last=$word; done\n'
                f'FAKE_AWS="{folder}/$region" exec "{folder}/programs/{name}" "$@"\n')
            (folder / place).chmod(0o755)
        os.environ["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
        # What this script leaves of its own would be seen there.
        os.environ["TMPDIR"] = str(folder)
        for region in [*self.regions, ""]:
            (folder / region).mkdir(exist_ok=True)

    def account(self, region: str, stacks: dict[str, dict[str, str]], **state: Any) -> None:
        made = {name: {"status": "CREATE_COMPLETE", "parameters": given, "events": [], "template": ""} for name, given in stacks.items()}
        (self.folder / region / "state").write_bytes(marshal.dumps({"stacks": made, "repositories": {}} | state))

    def change(self, region: str, **state: Any) -> None:
        (self.folder / region / "state").write_bytes(marshal.dumps(self.state(region) | state))

    def state(self, region: str) -> dict[str, Any]:
        return marshal.loads((self.folder / region / "state").read_bytes())

    def fault(self, region: str, call: str, error: str) -> None:
        (self.folder / region / "faults").write_bytes(marshal.dumps([{"call": call, "error": error, "times": 9}]))

    def said(self, region: str, name: str) -> list[list[str]]:
        """The calls of `aws` or the program in a region."""
        file = self.folder / region / name
        return [ast.literal_eval(line)["words"] for line in file.read_text().splitlines()] if file.exists() else []

    def test(self, **state: Any) -> CFNTest:
        """taskcat's own test, and accounts with the stacks that it makes."""
        # Else the bucket has a policy with a condition, which moto does not read: it refuses whatever comes.
        test = CFNTest.from_file(project_root=str(self.project), enable_sig_v2=True)
        test.lint_disable = True
        for region in self.regions:
            ssm = boto3.client("ssm", region_name=region)
            values = {"image-amd64": "soci-index-builder:1", "image-arm64": "soci-index-builder:1-arm64", "vpc": "vpc-0a1b", "subnets": "subnet-0a,subnet-0b",
                      "key": f"arn:aws:kms:{region}:123456789012:key/1", "topic": f"arn:aws:sns:{region}:123456789012:alarms",
                      "boundary": "arn:aws:iam::123456789012:policy/boundary"}
            for name, value in values.items():
                ssm.put_parameter(Name=SSM + name, Value=value, Type="String")
            self.account(region, {
                f"tCaT-soci-index-builder-{name}-{test.config.uid.hex}": one["parameters"] for name, one in self.config["tests"].items()
            }, **state)
        return test


def created(region: str) -> list[dict[str, Any]]:
    return boto3.client("cloudformation", region_name=region).describe_stacks()["Stacks"]


@case
def every_stack_is_tried_with_a_small_image(world: World) -> None:
    test = world.test(index_after=2)
    test.run()
    for region in world.regions:
        names = sorted(stack["StackName"].split("-")[4] for stack in created(region))
        assert names == ["defaults", "everything"], f"taskcat made other stacks: {names}"
        pushed = [words[1] for words in world.said(region, "program") if words[0] == "sample-image"]
        registry = f"123456789012.dkr.ecr.{region}.amazonaws.com"
        assert len(pushed) == 2 and pushed[0].startswith(f"{registry}/soci-smoke:soci-smoke-"), pushed
        assert pushed[1] == f"{registry}/prodsoci-smoke:vsoci-smoke", pushed
        verified = [words[1] for words in world.said(region, "program") if words[0] == "verify"]
        # The second test is of V1, whose index is beside the image.
        assert verified[0] == pushed[0] + "-soci" and verified[-1] == pushed[1], verified
        calls = [" ".join(words) for words in world.said(region, "calls")]
        assert calls[0].startswith("cloudformation wait stack-create-complete --stack-name tCaT-soci-index-builder-defaults-"), calls[0]
        assert "--force" in calls[-1] and not world.state(region)["repositories"]
    test.clean_up()
    assert not [stack for region in world.regions for stack in created(region) if stack["StackStatus"] != "DELETE_COMPLETE"]


@case
def an_index_that_does_not_come_fails_the_test_and_leaves_nothing(world: World) -> None:
    os.environ["DEPLOY_SMOKE_SECONDS"] = "1"
    test = world.test()
    world.change("eu-west-1", index_after=1000)
    try:
        with test:
            raise AssertionError("taskcat goes on")
    except TaskCatException as error:
        assert "smoke" in str(error) and "eu-west-1: " in str(error) and "There was no index within 1 seconds" in str(error), error
        assert "us-west-2" not in str(error), error
    finally:
        os.environ["DEPLOY_SMOKE_SECONDS"] = "60"
    assert not [stack for region in world.regions for stack in created(region) if stack["StackStatus"] != "DELETE_COMPLETE"]


def hook(world: World, config: dict[str, Any] | None = None, profile: str = "default") -> None:
    """The hook alone, for one stack."""
    regions = [SimpleNamespace(name=region, profile=profile) for region in world.regions[:2]]
    for region in regions:
        world.account(region.name, {"tCaT-x": {}})
    taskcat_plugin_smoke.Hook(config, None, SimpleNamespace(stack_name="tCaT-x", regions=regions))


@case
def a_stack_that_is_not_created_is_left_to_taskcat(world: World) -> None:
    first, second = world.regions[:2]
    world.fault(first, "cloudformation wait", 'Waiter StackCreateComplete failed: Waiter encountered a terminal failure state: For '
                'expression "Stacks[].StackStatus" we matched expected path: "CREATE_FAILED" at least once')
    hook(world)
    assert not world.said(first, "program") and world.said(second, "program")


@case
def what_else_goes_wrong_is_an_error(world: World) -> None:
    first = world.regions[0]
    world.fault(first, "cloudformation wait", "Waiter StackCreateComplete failed: Max attempts exceeded")
    try:
        hook(world)
    except TaskCatException as error:
        assert str(error) == f"{first}: Waiter StackCreateComplete failed: Max attempts exceeded", error
    else:
        raise AssertionError("the hook says nothing")


@case
def profile_and_seconds_arrive(world: World) -> None:
    world.fault(world.regions[0], "ecr create-repository", "An error occurred (AccessDenied)")
    try:
        hook(world, {"seconds": 2}, "work")
    except TaskCatException as error:
        assert "AccessDenied" in str(error), error
    [waited] = [words for words in world.said(world.regions[1], "calls") if words[1] == "wait"]
    assert waited[-2:] == ["--profile", "work"], waited


def main() -> int:
    # Its progress is asked for every ten seconds.
    taskcat._tui.time = SimpleNamespace(sleep=lambda _seconds: None)
    failed = 0
    for run in CASES:
        name, path = run.__name__.replace("_", " "), os.environ["PATH"]
        with tempfile.TemporaryDirectory() as folder, moto.mock_aws():
            try:
                run(World(Path(folder)))
                print(f"ok  {name}", flush=True)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next case runs.
                failed += 1
                print(f"FAIL {name}\n    {type(error).__name__}: {error}", flush=True)
        os.environ["PATH"] = path
        os.environ.pop("TMPDIR", None)
    print(f"{len(CASES) - failed} passed, {failed} failed", flush=True)
    # Timers of taskcat's stacks go on for a minute.
    os._exit(1 if failed else 0)


if __name__ == "__main__":
    main()
