"""./deploy, against a stand-in for `aws` that keeps an account in a file and fails where it is told to.

    python3 tests/deploy/cases.py SHELL...

Each case runs under the first shell, those with more than text in them under all. A dry run changes nothing, which the stand-in's own list of calls says; doing it
again does nothing new; every failure says what to do; no credential is printed.
"""

import ast
import contextlib
import hashlib
import io
import json
import marshal
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/deploy"
ACCOUNT, REGION = "123456789012", "eu-west-1"
REPOSITORY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/soci-index-builder"
BUCKET = f"soci-index-builder-{ACCOUNT}-{REGION}"
DIGEST = "sha256:" + "a" * 64
# For cases about what comes before or after the copy.
THERE = ("--image", f"{REPOSITORY}@{DIGEST}")
CASES: list[Callable[["Account"], None]] = []
VERSION = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]  # type: ignore[index]


EVERYWHERE: list[Callable[["Account"], None]] = []


def case(function: Callable[["Account"], None]) -> Callable[["Account"], None]:
    CASES.append(function)
    return function


def everywhere(function: Callable[["Account"], None]) -> Callable[["Account"], None]:
    """A case for every shell."""
    EVERYWHERE.append(function)
    return case(function)


@dataclass
class Run:
    code: int
    out: str
    error: str

    @property
    def text(self) -> str:
        return self.out + self.error


def stand_in(name: str, place: Path) -> None:
    """Puts a program of this folder somewhere. It begins at once, however Python is installed: a case makes many calls."""
    cache = ROOT / "target/deploy/cache"
    place.write_text(f"#!{os.path.realpath(sys.executable)} -IS\nimport sys\nsys.pycache_prefix = {str(cache)!r}\n"
                     f"sys.path.insert(0, {str(HERE)!r})\nimport {name}\n")
    place.chmod(0o755)


class Account:
    """An account, a folder with what a release has, and the shell that runs it."""

    def __init__(self, folder: Path, shell: list[str]) -> None:
        self.folder, self.shell = folder, shell
        self.calls_seen = 0
        release = folder / "release"
        release.mkdir()
        for file in ("deploy", "template.yaml", "templates/registry.yaml"):
            shutil.copy(ROOT / file, release / Path(file).name)
        # As long as the real one, which is too long for a request, or longer.
        template = release / "template.yaml"
        template.write_text(template.read_text().ljust(52_000, "\n"))
        tools = folder / "bin"
        tools.mkdir()
        stand_in("program", release / "soci-index-builder")
        stand_in("aws", tools / "aws")
        self.set()

    def set(self, **changes: Any) -> None:
        """Changes what the account has."""
        file = self.folder / "state"
        state = marshal.loads(file.read_bytes()) if file.exists() else {
            "roles": ["ecs.amazonaws.com", "ecs.application-autoscaling.amazonaws.com"], "stacks": {},
            "repositories": {}, "buckets": {}, "foreign_buckets": [], "filled_buckets": [], "quota": "100.0",
        }
        file.write_bytes(marshal.dumps(state | changes))

    @property
    def state(self) -> dict[str, Any]:
        return marshal.loads((self.folder / "state").read_bytes())

    def fault(self, call: str, error: str, times: int = 1) -> None:
        (self.folder / "faults").write_bytes(marshal.dumps([{"call": call, "error": error, "times": times}]))

    def deploy(self, *words: str, answer: str | None = None, interrupt_at: str = "", **environment: str) -> Run:
        """Runs it; with an answer as if somebody typed it at a terminal, or Ctrl-C when it has said something."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        variables = {
            "PATH": path, "HOME": str(self.folder), "FAKE_AWS": str(self.folder), "AWS_REGION": REGION,
            "AWS_PROFILE": "work", "DEPLOY_POLL_SECONDS": "0.2", "DEPLOY_ROLE_SECONDS": "0", "TMPDIR": str(self.folder),
        } | environment
        script = str(self.folder / "release/deploy")
        ours, theirs = os.openpty()
        os.write(ours, f"{answer}\n".encode())
        process = subprocess.Popen([*self.shell, script, *words], env=variables, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, start_new_session=True,
                                   stdin=subprocess.DEVNULL if answer is None else theirs)
        said = ""
        while interrupt_at and interrupt_at not in said:
            assert process.stdout
            line = process.stdout.readline()
            assert line, f"it never said {interrupt_at}: {said}"
            said += line
        out, error = self.interrupted(process) if interrupt_at else process.communicate(timeout=120)
        os.close(ours)
        os.close(theirs)
        run = Run(process.returncode, said + out, error)
        assert "verysecret" not in run.text and "AKIAEXAMPLE" not in run.text, run.text
        left = [entry.name for entry in self.folder.iterdir() if entry.name.startswith("tmp.")]
        assert not left, f"left behind: {left}"
        return run

    @staticmethod
    def interrupted(process: subprocess.Popen[str]) -> tuple[str, str]:
        """What it says after Ctrl-C. That is pressed again where nothing comes of it: bash loses one that comes while it
        reads what a `$(date)` says."""
        for _ in range(12):
            # As a terminal does, which tells all that run in it.
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=10)
        raise AssertionError("Ctrl-C does not end it")

    def calls(self) -> list[dict[str, Any]]:
        """The calls since the last time."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        new = lines[self.calls_seen:]
        self.calls_seen = len(lines)
        return [ast.literal_eval(line) for line in new]

    def changes(self) -> list[str]:
        return [" ".join(call["words"]) for call in self.calls() if call["changes"]]

    def program(self) -> list[dict[str, Any]]:
        file = self.folder / "program"
        return [ast.literal_eval(line) for line in file.read_text().splitlines()] if file.exists() else []

    def deployed(self, *words: str, **environment: str) -> Run:
        run = self.deploy(*words, **environment)
        assert run.code == 0, run.text
        return run


def fails(run: Run, *words: str, code: int = 1) -> None:
    assert run.code == code, f"exit code {run.code}: {run.text}"
    for word in words:
        assert word in run.error, f"no {word!r} in {run.error}"


# Deploying.


@everywhere
def a_new_account_gets_roles_repository_image_bucket_and_stack(account: Account) -> None:
    account.set(roles=[])
    run = account.deployed("--filters", "prod*:*", "MaxTasks=8")
    state = account.state
    assert state["roles"] == ["ecs.amazonaws.com", "ecs.application-autoscaling.amazonaws.com"]
    assert state["repositories"]["soci-index-builder"] == {f"{VERSION}-x86_64": DIGEST}
    assert state["buckets"][BUCKET] == ["put-public-access-block", "put-bucket-encryption",
                                        "put-bucket-lifecycle-configuration"]
    stack = state["stacks"]["soci"]
    assert stack["parameters"] == {"SociRepositoryImageTagFilters": "prod*:*", "MaxTasks": "8", "Architecture": "x86_64",
                                   "ImageUri": f"{REPOSITORY}@{DIGEST}"}, stack["parameters"]
    assert state["stacks"]["soci-index-builder-registry"]["status"] == "CREATE_COMPLETE"
    [copied] = account.program()
    assert copied["words"] == ["copy", f"ghcr.io/soci-index-builder/soci-index-builder:{VERSION}",
                               f"{REPOSITORY}:{VERSION}-x86_64", "--platform", "linux/amd64"], copied
    # Those of `aws`, in the environment alone.
    assert copied["environment"] == {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_PROFILE": None}
    for word in ("CREATE_COMPLETE", "AWS::SQS::Queue", "DashboardUrl", "BackfillCommand", "--smoke"):
        assert word in run.out, run.out


@case
def doing_it_again_changes_nothing_but_what_is_idempotent(account: Account) -> None:
    account.deployed("--filters", "prod*:*", "--architecture", "arm64")
    before = account.state
    account.calls()
    # What was said once stays as it is.
    run = account.deployed()
    assert account.state == before
    made = [call for call in account.changes() if " create-bucket" in call or "create-repository" in call]
    assert made == [], made
    assert account.program()[-1]["words"][-1] == "linux/arm64"
    assert "CREATE" not in run.out.split("== stack soci")[1].split("== deployed")[0], run.out
    # An empty value is one, too.
    assert "its tag with  behind it" in account.deployed("OutputTagSuffix=").out
    assert "its tag with  behind it" in account.deployed().out


@everywhere
def a_dry_run_shows_every_call_and_changes_nothing(account: Account) -> None:
    account.set(roles=[])
    before = account.state
    run = account.deployed("--dry-run", "--filters", "it's*:*")
    assert account.changes() == [] and account.state == before and account.program() == []
    for call in ("create-service-linked-role", "cloudformation deploy", "create-bucket", "put-public-access-block",
                 "soci-index-builder copy", r"it'\''s*:*", "asks  aws sts get-caller-identity"):
        assert call in run.error, run.error
    assert "Nothing was changed." in run.out
    # What it shows is what it does.
    shown = [line.split("would aws ")[1] for line in run.error.splitlines() if "would aws " in line]
    account.deployed("--filters", "it's*:*")
    done = [call for call in account.changes() if "create-service-linked" not in call]
    assert len(done) == len([call for call in shown if "create-service-linked" not in call]), (shown, done)
    for action in (["--delete", "--all"], ["--smoke"]):
        before = account.state
        account.calls()
        account.deployed(*action, "--dry-run")
        assert account.changes() == [] and account.state == before, action


@case
def every_value_is_a_flag_or_a_variable(account: Account) -> None:
    words = {"stack-name": "other", "region": "us-east-1", "filters": "a:*", "architecture": "arm64", "version": "9.9.9",
             "repository": "tools/soci", "bucket": "mine", "boundary": "arn:aws:iam::123456789012:policy/b",
             "source": "r.example/x:1"}
    account.set(buckets={"mine": []})
    first = account.deploy(*[f"--{name}={value}" for name, value in words.items()], "--parameter", "LogLevel=warn")
    assert first.code == 0, first.text
    flags = account.state
    variables = {f"DEPLOY_{name.replace('-', '_').upper()}": value for name, value in words.items()}
    account.set(stacks={}, repositories={})
    second = account.deploy(DEPLOY_PARAMETERS="LogLevel=warn", **variables)
    assert second.code == 0, second.text
    assert account.state == flags
    assert flags["buckets"] == {"mine": []}, "a bucket that was named keeps its own rules"
    parameters = flags["stacks"]["other"]["parameters"]
    assert parameters["LogLevel"] == "warn" and parameters["IamPermissionsBoundaryArn"].endswith("policy/b")
    assert parameters["ImageUri"].startswith(f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/tools/soci@sha256:")
    assert "tools-soci-registry" in flags["stacks"]
    assert account.program()[-1]["words"][1] == "r.example/x:1"


@case
def an_image_that_is_in_ecr_goes_by_its_digest_and_is_not_copied(account: Account) -> None:
    account.set(repositories={"mine": {"1": DIGEST}})
    account.deployed("--image", f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/mine:1")
    uri = account.state["stacks"]["soci"]["parameters"]["ImageUri"]
    assert uri == f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/mine@{DIGEST}", uri
    assert account.program() == []
    fails(account.deploy("--image", "ghcr.io/x/y:1"), "not in ECR in eu-west-1", "--source")
    fails(account.deploy("--image", f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/mine:1"), "not in ECR in eu-west-1")
    fails(account.deploy("--image", f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/mine:2"), "does not exist")


@case
def a_repository_that_somebody_made_by_hand_is_used(account: Account) -> None:
    account.set(repositories={"soci-index-builder": {}})
    run = account.deployed()
    assert "of no stack of this script" in run.error
    assert list(account.state["stacks"]) == ["soci"]


@case
def the_core_alone_needs_no_roles_of_ecs_and_a_short_template_no_bucket(account: Account) -> None:
    core = account.folder / "core.yaml"
    core.write_text("Parameters:\n  ImageUri:\n    Type: String\n  Architecture:\n    Type: String\nResources: {}\n")
    account.set(roles=[])
    account.deployed("--template", str(core))
    assert account.state["roles"] == [] and account.state["buckets"] == {}


# What is in the way.


@case
def missing_and_expired_credentials_say_how_to_log_in(account: Account) -> None:
    account.fault("sts", "Unable to locate credentials. You can configure credentials by running \"aws configure\".")
    fails(account.deploy(), "not known who deploys", "aws sso login")
    account.fault("sts", "The config profile (work) could not be found")
    fails(account.deploy(), "AWS_PROFILE")
    account.fault("sts", "An error occurred (ExpiredToken) when calling the GetCallerIdentity operation: The security "
                  "token included in the request is expired")
    fails(account.deploy(), "have expired", "goes on where it was")
    # In the midst of it, and then on.
    account.fault("create-bucket", "An error occurred (ExpiredToken) when calling the CreateBucket operation: expired")
    fails(account.deploy(), "have expired", "goes on where it was")
    account.deployed()


@case
def a_wrong_region_is_told(account: Account) -> None:
    account.fault("sts", 'Could not connect to the endpoint URL: "https://sts.eu-wset-1.amazonaws.com/"')
    fails(account.deploy("--region", "eu-wset-1"), "Is eu-wset-1 a region of AWS")
    account.fault("sts", "An error occurred (InvalidClientTokenId) when calling the GetCallerIdentity operation: The "
                  "security token included in the request is invalid.")
    fails(account.deploy(), "not enabled")
    fails(account.deploy(AWS_REGION=""), "No region is set", "--region")
    fails(account.deploy("--region", "Frankfurt"), "such as eu-west-1", code=2)
    account.set(configured=True)
    run = account.deploy(AWS_REGION="")
    assert run.code == 0 and "region eu-west-1" in run.out, run.text


@case
def an_old_aws_and_none_are_told(account: Account) -> None:
    (account.folder / "version").write_bytes(marshal.dumps("aws-cli/1.29.0 Python/3.8.0 Linux/5 botocore/1.31.0"))
    fails(account.deploy(), "Version 2 of aws is needed", "aws-cli/1.29.0")
    (account.folder / "bin/aws").unlink()
    for tool in ("sed", "cat", "mktemp", "rm", "dirname", "grep", "tail", "head", "cut"):
        (account.folder / "bin" / tool).symlink_to(str(shutil.which(tool)))
    shell = shutil.which(account.shell[0])
    account.shell[0] = str(shell)
    fails(account.deploy(PATH=str(account.folder / "bin")), "no program aws", "Install version 2")


@case
def roles_that_exist_are_fine_and_a_refusal_is_a_note(account: Account) -> None:
    run = account.deployed()
    assert "service-linked role of" not in run.text, run.text
    account.fault("create-service-linked-role", "An error occurred (AccessDenied) when calling the "
                  "CreateServiceLinkedRole operation: not authorized", times=2)
    run = account.deployed()
    assert run.error.count("cannot be created") == 2 and "--aws-service-name ecs.amazonaws.com" in run.error, run.error


@case
def taskcats_workflow_creates_the_roles_that_the_script_creates(_: Account) -> None:
    service = r"create-service-linked-role --aws-service-name (\S+)"
    script = re.search(r"for service in (.+); do", (ROOT / "deploy").read_text())
    workflow = (ROOT / ".github/workflows/taskcat.yml").read_text()
    assert script and re.findall(service, workflow.split("taskcat test run")[0]) == script[1].split(), workflow
    # None is made twice, and they have time to be known.
    assert workflow.count("iam get-role --role-name") == 2 and "sleep" in workflow


@case
def a_low_quota_is_a_warning_and_one_that_cannot_be_asked_is_a_note(account: Account) -> None:
    account.set(quota="6.0")
    run = account.deployed(*THERE, "MaxTasks=16", "TaskCpu=1024", "TaskMemory=2048")
    assert "16 tasks of 1024 CPU units are 16 vCPUs" in run.error and "this account 6" in run.error, run.error
    assert "L-3032A538" in run.error
    # The next time the stack's own values count.
    assert "16 vCPUs" in account.deployed(*THERE).error
    assert "vCPUs" not in account.deployed(*THERE, "MaxTasks=2", "TaskCpu=2048").error
    assert "L-36FBB829" in account.deployed(*THERE, "SpotShare=100", "MaxTasks=9").error
    # Where no task fits, the one that a creation waits for would never start.
    account.calls()
    fails(account.deploy(*THERE, "TaskCpu=8192", "TaskMemory=16384"), "one task needs 8192 CPU units: none would start", "core.yaml")
    assert account.changes() == []
    account.fault("get-service-quota", "An error occurred (AccessDeniedException)")
    assert "cannot be asked for" in account.deployed(*THERE).error


@case
def functions_that_a_new_account_does_not_run_are_told(account: Account) -> None:
    account.set(quotas={"L-B99A9384": "10.0"})
    assert "IndexLambda" not in account.deployed(*THERE).error, "what a stack has by itself fits into a new account"
    run = account.deployed(*THERE, "IndexLambdaMaxConcurrency=10")
    assert "may run 10 times at once, and Lambda runs 10 functions" in run.error and "L-B99A9384" in run.error, run.error
    # The worker takes them all.
    assert "may run" not in account.deployed(*THERE, "IndexLambdaMaxImageSize=0").error
    account.calls()
    fails(account.deploy(*THERE, "IndexLambdaReservedConcurrency=10"), "of which 10 cannot be reserved", "L-B99A9384")
    assert account.changes() == []
    account.set(stacks={}, quotas={"L-B99A9384": "12.0"})
    core = account.folder / "core.yaml"
    core.write_text((ROOT / "templates/core.yaml").read_text())
    # Three queues.
    assert "may run 12 times at once" in account.deployed(*THERE, "--template", str(core)).error


@case
def a_region_full_of_vpcs_is_told_before_anything_is_made(account: Account) -> None:
    vpcs = [f"vpc-{number}" for number in range(5)]
    account.set(vpcs=vpcs)
    fails(account.deploy(*THERE), "eu-west-1 has 5 already", "SubnetIds=", "L-F678F1CE")
    assert account.changes() == []
    account.deployed(*THERE, "VpcId=vpc-1", "SubnetIds=subnet-1")
    fails(account.deploy(*THERE, "VpcId=", "SubnetIds="), "has 5 already")
    # One of the five is the stack's own.
    account.set(vpcs=vpcs[1:], stacks={})
    account.deployed(*THERE)
    account.set(vpcs=vpcs)
    account.deployed(*THERE)
    account.fault("describe-vpcs", "An error occurred (UnauthorizedOperation)")
    account.set(stacks={})
    assert "how many VPCs" in account.deployed(*THERE).error


@everywhere
def tags_go_on_all_that_is_made_and_stay(account: Account) -> None:
    account.deployed("--tag", "team=red", "--tag=cost center=4 7", "--tag", "team=blue")
    wanted = {"team": "blue", "cost center": "4 7"}
    for name in ("soci", "soci-index-builder-registry"):
        assert account.state["stacks"][name]["tags"] == wanted, account.state["stacks"][name]
    assert account.state["bucket_tags"] == {BUCKET: wanted}
    # `aws` takes away what it is not given; another one is added.
    account.deployed()
    assert account.state["stacks"]["soci"]["tags"] == wanted
    account.deployed(DEPLOY_TAGS="team=green\nempty=")
    assert account.state["stacks"]["soci"]["tags"] == wanted | {"team": "green", "empty": ""}
    assert account.state["bucket_tags"] == {BUCKET: wanted | {"team": "green", "empty": ""}}
    account.deployed("--smoke", "--tag", "team=red")
    assert json.loads(account.state["repository_tags"]) == [{"Key": "team", "Value": "red"}]
    for tag in ("team", "=x", "aws:x=y", 'a="b"'):
        fails(account.deploy("--tag", tag), f"--tag {tag}", code=2)


@case
def cloudformation_works_in_the_name_of_a_role(account: Account) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/path/cloudformation"
    account.deployed("--role-arn", role)
    assert {stack["role"] for stack in account.state["stacks"].values()} == {role}
    account.calls()
    account.deployed("--delete", "--all", "--yes", DEPLOY_ROLE_ARN=role)
    deletions = [change for change in account.changes() if "delete-stack" in change]
    assert len(deletions) == 2 and all(f"--role-arn {role}" in change for change in deletions), deletions
    fails(account.deploy("--role-arn", "admin"), "--role-arn admin", code=2)


@case
def permissions_are_told_as_far_as_they_are_known(account: Account) -> None:
    account.set(denied=["iam:CreateRole", "lambda:CreateFunction"])
    run = account.deployed(*THERE)
    assert "may lack: iam:CreateRole lambda:CreateFunction" in run.error, run.error
    role = [call["words"] for call in account.calls() if "simulate-principal-policy" in call["words"]]
    # With its path, which the name of a session does not tell.
    assert f"arn:aws:iam::{ACCOUNT}:role/path/Deployer" in role[0]
    account.fault("simulate-principal-policy", "An error occurred (AccessDenied)")
    assert "does not say" in account.deployed(*THERE).error
    account.set(arn=f"arn:aws:iam::{ACCOUNT}:root")
    account.calls()
    account.deployed(*THERE)
    assert not [call for call in account.calls() if call["words"][0] == "iam" and not call["changes"]]


@case
def a_stack_that_never_came_to_be_is_deleted_only_when_somebody_says_so(account: Account) -> None:
    account.set(stacks={"soci": {"status": "ROLLBACK_COMPLETE", "parameters": {}, "events": [], "template": ""}})
    fails(account.deploy(*THERE), "Nobody is there to ask", "--yes")
    assert account.state["stacks"]["soci"]["status"] == "ROLLBACK_COMPLETE"
    account.deployed(*THERE, "--yes")
    assert account.state["stacks"]["soci"]["status"] == "CREATE_COMPLETE"


@case
def a_stack_that_was_left_as_it_failed_goes_on_from_there(account: Account) -> None:
    account.set(stack_failure="Something else", stacks={})
    fails(account.deploy(*THERE, "--keep-failed"), "What failed first")
    assert account.state["stacks"]["soci"]["status"] == "CREATE_FAILED"
    account.set(stack_failure="")
    account.deployed(*THERE)
    assert account.state["stacks"]["soci"]["status"].endswith("_COMPLETE")


@case
def keys_in_the_environment_do_not_win_over_a_profile_that_is_named(account: Account) -> None:
    for words, keys in ((["--profile", "prod"], None), ([], "AKIAOTHER")):
        account.calls()
        given = {"AWS_ACCESS_KEY_ID": "AKIAOTHER", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "y"}
        run = account.deploy(*THERE, *words, **given)
        assert run.code == 0, run.text
        assert {call["key"] for call in account.calls()} == {keys}


@case
def a_stack_that_is_being_changed_is_left_alone(account: Account) -> None:
    for status, word in (("UPDATE_IN_PROGRESS", "when that is over"), ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback")):
        account.set(stacks={"soci": {"status": status, "parameters": {}, "events": [], "template": ""}})
        fails(account.deploy(*THERE, "--yes"), status if "IN" in status else "rolled back", word)


@case
def a_failure_tells_the_first_reason_and_what_to_do(account: Account) -> None:
    for reason, advice in (
        ("Unable to assume the service linked role. Please verify that the ECS service linked role exists.", "in a minute"),
        ("User is not authorized to perform: iam:CreateRole", "deployer-policy.json"),
        ("The maximum number of VPCs has been reached. (VpcLimitExceeded)", "VpcId="),
        ("Specified ReservedConcurrentExecutions decreases account's UnreservedConcurrentExecution", "leave IndexLambda"),
        ("The image manifest, config or layer media type for the source image is not supported", "for x86_64"),
        ("Error occurred during operation 'ECS Deployment Circuit Breaker was triggered': circuit breaker", "describe-log-groups"),
        ("You are not authorized to perform: ec2:CreateInternetGateway with an explicit deny", "needs an internet gateway"),
        ("Value (us-east-1e) for parameter availabilityZone is invalid. Fargate is not in that Availability Zone", "zones that have Fargate: VpcId="),
        ("Something else", "docs/DEPLOY.md"),
    ):
        account.set(stack_failure=reason, stacks={})
        run = account.deploy(*THERE)
        fails(run, "What failed first", f"Cluster (AWS::ECS::Cluster): {reason}", advice)
        assert "cancelled" not in run.error, run.error
        assert "CREATE_FAILED" in run.out, run.out
    account.set(stacks={})
    fails(account.deploy(*THERE, "--keep-failed"), "What failed first")
    assert account.state["stacks"]["soci"]["status"] == "CREATE_FAILED"


@everywhere
def progress_is_shown_while_it_lasts(account: Account) -> None:
    account.set(deploy_seconds=0.3)
    run = account.deployed(*THERE)
    assert run.out.count("CREATE_COMPLETE              Queue") == 1, run.out
    account.set(deploy_seconds=0)
    assert "CREATE_COMPLETE              Queue" not in account.deployed(*THERE).out, "what was before is not shown"


@case
def what_cloudformation_refuses_at_once_is_told(account: Account) -> None:
    account.fault("cloudformation deploy", "An error occurred (ValidationError) when calling the CreateChangeSet "
                  "operation: Parameter 'SpanSize' must match pattern ^[1-9]")
    fails(account.deploy(*THERE, "SpanSize=x"), "'SpanSize' must match", "what each parameter takes")
    account.fault("cloudformation deploy", "Waiter StackUpdateComplete failed: Max attempts exceeded")
    fails(account.deploy(*THERE), "goes on by itself")


@case
def a_bucket_of_somebody_else_is_not_used(account: Account) -> None:
    account.set(foreign_buckets=[BUCKET])
    fails(account.deploy(*THERE), "not this account's", "--bucket")
    account.set(foreign_buckets=[], buckets={})
    account.fault("create-bucket", "An error occurred (BucketAlreadyExists) when calling the CreateBucket operation: The "
                  "requested bucket name is not available.")
    fails(account.deploy(*THERE), "another account's", "--bucket")
    account.fault("head-bucket", "An error occurred (301) when calling the HeadBucket operation: Moved Permanently")
    fails(account.deploy(*THERE), "another region", "--bucket")
    # The first region has no name as a place.
    account.calls()
    assert account.deploy(*THERE, "--region", "us-east-1").code == 0
    assert not any("LocationConstraint" in call for call in account.changes())


@case
def an_image_that_cannot_be_copied_says_why(account: Account) -> None:
    account.set(copy_failure="tag 0.1.0-x86_64 is immutable")
    fails(account.deploy(), "is immutable", "--version")
    account.set(copy_failure="ghcr.io refuses access: log in with docker login ghcr.io")
    fails(account.deploy(), "ghcr.io refuses access", "docker login")
    assert "soci" not in account.state["stacks"]


@case
def mistakes_on_the_command_line_exit_with_2(account: Account) -> None:
    for words, told in (
        (["--nonsense", "x"], "no option --nonsense"), (["--filters"], "needs a value"), (["nonsense"], "neither"),
        (["--architecture", "mips"], "x86_64 or arm64"), (["--stack-name", "a b"], "letters, digits"),
        (["--source", "a", "--image", "b"], "exclude each other"), (["ImageUri=x"], "with --image"), (["--poll-seconds", "x"], "a number"), (["--smoke-seconds", "1.5"], "whole number"),
    ):
        fails(account.deploy(*words), told, code=2)
    fails(account.deploy("MaxTask=8"), "no parameter MaxTask", "docs/DEPLOY.md")
    fails(account.deploy("--template", "/nonexistent"), "cannot be read")
    assert account.calls() == []


@case
def less_concurrency_reserved_than_used_is_refused_before_anything_is_made(account: Account) -> None:
    fails(account.deploy("IndexLambdaReservedConcurrency=4"), "is too small: 5 functions", "Reserve at least 5")
    fails(account.deploy("IndexLambdaReservedConcurrency=100", "IndexLambdaMaxConcurrency=101"), "101 functions")
    core = ("--template", str(ROOT / "templates/core.yaml"))
    fails(account.deploy(*core, "IndexLambdaReservedConcurrency=11"), "12 functions")
    assert account.changes() == []
    account.deployed("IndexLambdaReservedConcurrency=100", "IndexLambdaMaxConcurrency=100")
    # Against what the stack has.
    fails(account.deploy("IndexLambdaMaxConcurrency=101"), "IndexLambdaReservedConcurrency=100 is too small")
    account.deployed("IndexLambdaMaxConcurrency=101", "IndexLambdaReservedConcurrency=")
    account.deployed(*core, "IndexLambdaMaxConcurrency=10", "IndexLambdaReservedConcurrency=22")


@case
def what_it_takes_for_the_defaults_are_those_of_the_template(account: Account) -> None:
    template = (ROOT / "template.yaml").read_text()
    taken = re.findall(r"wanted (\w+) ('[^']*'|[^ )]+)\)", (ROOT / "deploy").read_text())
    assert len(taken) > 6, taken
    for name, default in taken:
        declared = re.search(rf"^  {name}:\n(?:    .*\n)*?    Default: (.*)$", template, re.M)
        assert declared and declared[1].strip('"') == default.strip("'"), f"{name}: {default}"


@case
def the_help_names_every_option_and_variable(account: Account) -> None:
    run = account.deployed("--help")
    script = (ROOT / "deploy").read_text()
    options = set(re.findall(r"^    (--[a-z-]+)\)", script, re.M)) - {"--parameter"}
    assert len(options) > 18, options
    variables = set(re.findall(r"\$\{(DEPLOY_[A-Z_]+)", script)) - {"DEPLOY_ROLE_SECONDS"}
    for word in options | variables:
        assert word in run.out, f"--help does not name {word}"
    assert f"VERSION={VERSION}\n" in script, "the version of Cargo.toml"


# The program.


@case
def a_program_that_is_not_there_is_downloaded_and_verified(account: Account) -> None:
    machine = os.uname().machine
    name = f"soci-index-builder-{VERSION}-linux-{'arm64' if machine == 'aarch64' else 'amd64'}"
    (account.folder / "release/soci-index-builder").unlink()
    served = account.folder / "served"
    served.mkdir()
    packed = io.BytesIO()
    program = account.folder / "downloaded"
    stand_in("program", program)
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(program, f"{name}/soci-index-builder")
    (served / f"{name}.tar.gz").write_bytes(packed.getvalue())
    sums = f"{hashlib.sha256(packed.getvalue()).hexdigest()}  {name}.tar.gz\n{'0' * 64}  other\n"
    (served / "SHA256SUMS").write_text(sums)
    curl = account.folder / "bin/curl"
    curl.write_text(f'#!/bin/sh\n[ "$1 $2" = "-fsSL -o" ] || exit 2\necho "$4" >>"{served}/asked"\ncp "{served}/${{4##*/}}" "$3"\n')
    curl.chmod(0o755)
    run = account.deployed()
    assert "downloads" in run.out and len(account.program()) == 1
    origin = "https://github.com/soci-index-builder/soci-index-builder"
    asked = (served / "asked").read_text().splitlines()
    assert asked == [f"{origin}/releases/download/v{VERSION}/{file}" for file in ("SHA256SUMS", f"{name}.tar.gz")], asked
    (served / "SHA256SUMS").write_text(sums.replace(sums[0], "f" if sums[0] != "f" else "0", 1))
    fails(account.deploy(), "is not what SHA256SUMS of the release says")
    assert len(account.program()) == 1
    (served / "SHA256SUMS").write_text("")
    fails(account.deploy(), "does not name")
    (served / "SHA256SUMS").unlink()
    fails(account.deploy(), "cannot be downloaded", "--program")
    fails(account.deploy("--program", "/bin/false"), "no soci-index-builder that can copy")
    # One in PATH will do.
    stand_in("program", account.folder / "bin/soci-index-builder")
    account.deployed()


# Trying it.


@case
def smoke_pushes_waits_verifies_and_deletes_both(account: Account) -> None:
    account.deployed("--filters", "prod/*:v*,x:*")
    account.set(index_after=3)
    account.calls()
    before = account.state["repositories"]
    run = account.deployed("--smoke")
    place = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/prod/soci-smoke"
    [pushed] = [call["words"] for call in account.program() if call["words"][0] == "sample-image"]
    assert len(pushed) == 2 and re.fullmatch(re.escape(place) + r":vsoci-smoke-[0-9]{10}", pushed[1]), pushed
    assert "It works" in run.out and f"verified {pushed[1]}-soci" in run.out, run.out
    assert account.state["repositories"] == before
    changes = account.changes()
    assert changes == ["ecr create-repository --repository-name prod/soci-smoke",
                       "ecr delete-repository --repository-name prod/soci-smoke --force"], changes


@case
def smoke_that_finds_no_index_fails_and_deletes_all_the_same(account: Account) -> None:
    account.deployed()
    account.set(index_after=1000)
    before = account.state["repositories"]
    fails(account.deploy("--smoke", "--smoke-seconds", "3"), "no SOCI index", "within 3 seconds", "RUNBOOK.md")
    assert account.state["repositories"] == before


@everywhere
def smoke_takes_a_repository_that_is_there_only_if_it_is_named(account: Account) -> None:
    account.deployed("--filters", "app:*")
    account.set(repositories=account.state["repositories"] | {"app": {"1": DIGEST}})
    fails(account.deploy("--smoke"), "there already", "--smoke-repository app")
    account.calls()
    account.deployed("--smoke", "--smoke-repository", "app")
    assert account.state["repositories"]["app"] == {"1": DIGEST}
    changes = account.changes()
    deleted = [change for change in changes if "batch-delete-image" in change]
    assert len(deleted) == len(changes) == 2 and "imageTag=soci-smoke-" in deleted[0], deleted
    assert f"imageDigest=sha256:{'c' * 64} imageDigest=sha256:{'d' * 64}" in deleted[1], deleted
    fails(account.deploy("--smoke", "--stack-name", "none"), "no stack none")
    account.deployed("Platforms=linux/arm64")
    fails(account.deploy("--smoke", "--smoke-repository", "app"), "linux/arm64 only")


@case
def smoke_takes_no_tag_that_somebody_has(account: Account) -> None:
    account.deployed("--filters", "app:latest,team/*:latest,team/*:v*")
    there = account.state["repositories"] | {"app": {"latest": DIGEST}, "team/a": {"latest": DIGEST}, "other": {}}
    account.set(repositories=there)
    account.calls()
    # The first filter's repository is there, so nothing can be pushed under its tag, and nobody is told to allow it.
    run = account.deploy("--smoke")
    fails(run, "names a single tag", "Push an image of your own")
    assert "--smoke-repository" not in run.error
    fails(account.deploy("--smoke", "--smoke-repository", "app"), "app:latest names a single tag")
    fails(account.deploy("--smoke", "--smoke-repository", "other"), "No filter of stack soci matches repository other")
    assert account.changes() == [] and account.program()[-1]["words"][0] == "copy"
    # Another filter of that repository has a star.
    account.deployed("--smoke", "--smoke-repository", "team/a")
    assert re.search(r"team/a:vsoci-smoke-[0-9]+$", account.program()[-2]["words"][1]), account.program()[-2]
    assert account.state["repositories"] == there
    # A repository that is made for it takes any tag.
    account.deployed("SociRepositoryImageTagFilters=new:latest")
    account.deployed("--smoke")
    assert account.state["repositories"] == there


@case
def smoke_looks_for_tag_and_result_before_it_pushes(account: Account) -> None:
    account.deployed("--filters", "app:*")
    date = account.folder / "bin/date"
    date.write_text("#!/bin/sh\necho 1700000000\n")
    date.chmod(0o755)
    for tag in ("soci-smoke-1700000000", "soci-smoke-1700000000-soci"):
        there = account.state["repositories"] | {"app": {tag: DIGEST}}
        account.set(repositories=there)
        account.calls()
        fails(account.deploy("--smoke", "--smoke-repository", "app"), f"app:{tag} is there already")
        assert account.changes() == [] and account.state["repositories"] == there
    account.set(repositories=account.state["repositories"] | {"app": {}})
    account.fault("describe-images", "An error occurred (AccessDenied) when calling DescribeImages: not authorized")
    fails(account.deploy("--smoke", "--smoke-repository", "app"), "cannot be looked at")
    assert account.changes() == []


@case
def smoke_pushes_an_image_whose_layers_the_stack_indexes(account: Account) -> None:
    for least, size in (("0", None), ("10MiB", None), ("11184811", "33554433"), ("20MiB", "62914560"), ("1GiB", "3221225472")):
        account.deployed(*THERE, f"MinLayerSize={least}")
        account.deployed("--smoke")
        [words] = [call["words"] for call in account.program() if call["words"][0] == "sample-image"][-1:]
        assert words[2:] == (["--size", size] if size else []), words
    for least in ("2GiB", "99999999999999GiB"):
        account.deployed(*THERE, f"MinLayerSize={least}")
        account.calls()
        fails(account.deploy("--smoke"), f"layers of {least} and more only", "of your own")
        assert account.changes() == []


@everywhere
def smoke_that_is_interrupted_leaves_nothing(account: Account) -> None:
    account.deployed("--filters", "made:*,app:*")
    for words in ([], ["--smoke-repository", "app"]):
        there = account.state["repositories"] | {"app": {"1": DIGEST}}
        account.set(repositories=there, index_after=1000)
        run = account.deploy("--smoke", *words, interrupt_at="waiting for")
        assert run.code == 130 and "interrupted" in run.error and "deletes what --smoke has made" in run.error, run.text
        assert account.state["repositories"] == there
    assert "may still come: look for app:soci-smoke-" in run.error, run.error
    account.fault("delete-repository", "An error occurred (AccessDenied): not authorized")
    run = account.deploy("--smoke", interrupt_at="waiting for")
    assert "aws --region eu-west-1 ecr delete-repository --repository-name made --force" in run.error, run.error
    account.fault("batch-delete-image", "An error occurred (AccessDenied): not authorized")
    run = account.deploy("--smoke", "--smoke-repository", "app", interrupt_at="waiting for")
    assert re.search(r"ecr batch-delete-image --repository-name app --image-ids imageTag=soci-smoke-\d+-soci", run.error), run.error


@case
def the_program_itself_copies_the_image_and_makes_the_one_of_smoke(account: Account) -> None:
    program = os.environ.get("SOCI_BIN")
    if not program:
        print("skip the program itself: SOCI_BIN names none")
        return
    (account.folder / "release/soci-index-builder").unlink()
    (account.folder / "release/soci-index-builder").symlink_to(program)
    # Registry, queue and worker of one process stand in for ECR and the stack.
    local = subprocess.Popen([program, "local", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
                             stdout=subprocess.PIPE, text=True)
    try:
        assert local.stdout
        registry = next(found[1] for line in local.stdout if (found := re.search(r"registry +http://(\S+)", line)))
        account.set(registry=registry)
        made = subprocess.run([program, "sample-image", f"{registry}/released:1", "--size", "1MiB"], check=True,
                              capture_output=True, text=True).stdout.strip()
        account.deployed("--source", f"{registry}/released:1")
        uri = account.state["stacks"]["soci"]["parameters"]["ImageUri"]
        assert uri == f"{registry}/soci-index-builder@{made}", uri
        fails(account.deploy("--source", f"{registry}/released:1", "--architecture", "arm64"), "it has linux/amd64")
        run = account.deployed("--smoke", "--smoke-seconds", "120")
        assert "It works" in run.out and "SOCI index sha256:" in run.out, run.out
    finally:
        local.terminate()
        local.wait()


# Deleting it.


@case
def deleting_asks_first_and_takes_the_rest_only_with_all(account: Account) -> None:
    account.deployed()
    before = account.state
    fails(account.deploy("--delete"), "Nobody is there to ask", "--yes")
    for answer in ("no", "y", ""):
        fails(account.deploy("--delete", answer=answer), 'Only the answer "yes"')
    assert account.state == before
    run = account.deploy("--delete", answer="yes")
    assert run.code == 0, run.text
    assert "stay; --all" in run.out
    assert list(account.state["stacks"]) == ["soci-index-builder-registry"] and account.state["buckets"]
    canary = {"status": "CREATE_COMPLETE", "events": [], "template": "",
              "parameters": {"ImageUri": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/soci-index-builder@sha256:{'a' * 64}"}}
    alone = account.state["stacks"]
    account.set(stacks=alone | {"canary": canary})
    fails(account.deploy("--delete", "--all", "--yes"), "the image of other stacks: canary")
    assert account.state["repositories"] and account.state["buckets"]
    account.set(stacks=alone)
    account.deployed("--delete", "--all", "--yes")
    state = account.state
    assert (state["stacks"], state["repositories"], state["buckets"]) == ({}, {}, {})
    account.deployed("--delete", "--all", "--yes")


def run_case(shell: str, run: Callable[[Account], None]) -> tuple[str, str, str]:
    """Its name, what went wrong, and its calls."""
    name = f"{shell}: {run.__name__.replace('_', ' ')}"
    with tempfile.TemporaryDirectory() as folder:
        wrong = ""
        try:
            run(Account(Path(folder), shell.split()))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next case runs.
            wrong = f"{type(error).__name__}: {error}"
        file = Path(folder) / "calls"
        return name, wrong, file.read_text() if file.exists() else ""


def main() -> int:
    # Whoever runs this behind `&` has it ignored, and a shell cannot trap what was ignored when it began.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    first, *others = sys.argv[1:]
    # What is said of failures is the same text in every shell.
    work = [(first, run) for run in CASES]
    work += [(shell, run) for shell in others for run in CASES if run in EVERYWHERE]
    recorded = ROOT / "target/deploy/calls.jsonl"
    recorded.parent.mkdir(parents=True, exist_ok=True)
    failed = 0
    with recorded.open("w") as calls, ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        for name, wrong, made in pool.map(lambda one: run_case(*one), work):
            failed += bool(wrong)
            print(f"FAIL {name}\n     {wrong}" if wrong else f"ok   {name}", flush=True)
            calls.writelines(json.dumps(ast.literal_eval(line)) + "\n" for line in made.splitlines())
    print(f"{len(work) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
