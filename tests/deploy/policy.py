"""What whoever deploys may do: templates/deployer-policy*.json.

    python3 tests/deploy/policy.py [--check]

For each resource type of template.yaml and templates/registry.yaml AWS publishes which calls its handler makes to create,
read, update, delete and list it. cfn-lint carries these schemas, so it has to be the one that runs this. The calls of
./deploy itself come from tests/deploy/cases.py, which records them. What neither can know (`aws cloudformation deploy`
makes calls of its own, a bucket is written to by other names) is in OWN, with the reason.

An IAM policy has at most 6,144 characters, so actions are grouped by service and, where a policy would be longer, split
in two. Roles are passed to the services of the template only, and service-linked ones made for two. Exit codes: 0 written, or up to date; 1 not up to date.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import cfnlint.data.schemas

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests/aws"))
import resolve  # noqa: E402  pylint: disable=wrong-import-position

SCHEMAS = Path(next(iter(cfnlint.data.schemas.__path__)))
FILES = [ROOT / "templates/deployer-policy.json", ROOT / "templates/deployer-policy-2.json"]
MOST = 6_144

# Calls of the handlers that no property of the templates leads to.
NOT_NEEDED = re.compile(
    r"^(kms:(?!DescribeKey|CreateGrant)|s3:(?!GetObject)|elasticfilesystem:|secretsmanager:|vpc-lattice:|servicediscovery:|"
    r"elasticloadbalancing:|codestar|codeconnections:|ec2:.*(Ipam|NetworkInterface|TransitGateway|NatGateway|Eip|Address)|"
    r"lambda:.*(CodeSigning|Layer|Capacity|DurableExecution)|autoscaling|signer:|cassandra:|dynamodb:|elasticmapreduce:|"
    r"kafka:|rds:|sagemaker:|comprehend:|workspaces:|appstream:|elasticache:|neptune:|custom-resource:|"
    r"ecs:(.*(Express|TaskSet)|PutAccountSetting)|s3files:|iam:\w+(Group|User)Policy|ec2:.*(Vpn|Tenancy)|firehose:|kinesis:|elasticfilesystem|iam:CreateServiceLinkedRole|iam:PassRole|sns:|application-signals)"
)

# What ./deploy and `aws cloudformation deploy` need beside what is recorded and published.
OWN = {
    "cloudformation:CreateChangeSet", "cloudformation:DescribeChangeSet", "cloudformation:ExecuteChangeSet",
    "cloudformation:DeleteChangeSet", "cloudformation:GetTemplateSummary", "cloudformation:ContinueUpdateRollback",
    # Where a stack is made with tags, or gets other ones.
    "cloudformation:TagResource", "cloudformation:UntagResource",
    # The bucket for the template: s3:ListBucket is what head-bucket takes.
    "s3:CreateBucket", "s3:ListBucket", "s3:PutBucketPublicAccessBlock", "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration", "s3:GetBucketTagging", "s3:PutBucketTagging", "s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:DeleteBucket",
    # `soci-index-builder copy`, and the image of --smoke.
    "ecr:GetAuthorizationToken", "ecr:BatchCheckLayerAvailability", "ecr:InitiateLayerUpload", "ecr:UploadLayerPart",
    "ecr:CompleteLayerUpload", "ecr:PutImage", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer",
    # Functions of images: Lambda reads the repository's policy, and adds itself to one that lacks it.
    "ecr:GetRepositoryPolicy", "ecr:SetRepositoryPolicy",
    # A stack that failed, looked into; BackfillCommand.
    "logs:FilterLogEvents", "logs:GetLogEvents", "ecs:RunTask", "ecs:ListTasks", "ecs:DescribeTasks", "ecs:StopTask",
    # A stack with a key of one's own.
    "kms:DescribeKey", "kms:CreateGrant",
}
# Statements with limits of their own.
LIMITED = {"iam:CreateServiceLinkedRole", "iam:PassRole"}
# Calls whose permission has another name.
NAMES = {
    "s3api": "s3", "head-bucket": "ListBucket", "put-public-access-block": "PutBucketPublicAccessBlock",
    "put-bucket-encryption": "PutEncryptionConfiguration", "put-bucket-lifecycle-configuration": "PutLifecycleConfiguration",
    "service-quotas": "servicequotas",
}
# They are of `aws` alone, or made of calls that are in OWN.
NO_CALLS = {"configure get", "configure export-credentials", "cloudformation deploy", "cloudformation wait", "s3 rm"}


def types() -> list[str]:
    files = (ROOT / "template.yaml", ROOT / "templates/registry.yaml")
    return sorted({resource["Type"] for file in files for resource in resolve.load(file)["Resources"].values()})


def schemas() -> dict[str, dict[str, Any]]:
    named = json.loads((SCHEMAS / "providers/us-east-1.json").read_text())
    files = named if isinstance(named, dict) else {}
    return {kind: json.loads((SCHEMAS / "resources" / f"{name}.json").read_text()) for kind, name in files.items()
            if isinstance(name, str) and (SCHEMAS / "resources" / f"{name}.json").exists()}


def actions() -> set[str]:
    known = schemas()
    found = set(OWN)
    for kind in types():
        handlers = known[kind].get("handlers")
        if not handlers:
            raise SystemExit(f"cfn-lint has no handlers of {kind}")
        for handler in handlers.values():
            found |= set(handler.get("permissions", []))
        # A stack's tags (--tag) go on all that can have some.
        found |= set(known[kind].get("tagging", {}).get("permissions", []))
    recorded = ROOT / "target/deploy/calls.jsonl"
    if not recorded.exists():
        raise SystemExit("run tests/deploy/cases.py first: it records the calls of ./deploy")
    for line in recorded.read_text().splitlines():
        service, operation = json.loads(line)["words"][:2]
        if f"{service} {operation}" in NO_CALLS:
            continue
        name = NAMES.get(operation) or "".join(part.capitalize() for part in operation.split("-"))
        found.add(f"{NAMES.get(service, service)}:{name}")
    found = {one for one in found if ":" in one and (one in OWN or not NOT_NEEDED.match(one))}
    return found - LIMITED


def shortened(names: list[str]) -> list[str]:
    """Without what another name with a star has."""
    stars = [name for name in names if name.endswith("*")]
    return [name for name in names if not any(name != star and name.startswith(star[:-1]) for star in stars)]


def statement(names: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": names, "Resource": "*"}


def policies() -> list[dict[str, Any]]:
    names = shortened(sorted(actions()))
    limited = [
        # No other service's, and only to what runs in the stack.
        {"Effect": "Allow", "Action": "iam:CreateServiceLinkedRole", "Resource": "*", "Condition": {"StringEquals": {
            "iam:AWSServiceName": ["ecs.amazonaws.com", "ecs.application-autoscaling.amazonaws.com"]}}},
        {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*", "Condition": {"StringEquals": {
            "iam:PassedToService": ["ecs-tasks.amazonaws.com", "events.amazonaws.com", "lambda.amazonaws.com",
                                    "scheduler.amazonaws.com"]}}},
    ]
    services = sorted({name.split(":")[0] for name in names})
    first: list[str] = []
    second: list[str] = []
    for service in services:
        own = [name for name in names if name.startswith(f"{service}:")]
        fits = len(json.dumps(policy([statement(first + own), *limited]), separators=(",", ":"))) <= MOST - 200
        (first if fits and not second else second).extend(own)
    found = [policy([statement(first), *limited])]
    return [*found, policy([statement(second)])] if second else found


def policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def main() -> int:
    made = policies()
    texts = {file: json.dumps(one, indent=1) + "\n" for file, one in zip(FILES, made, strict=False)}
    if len(made) > len(FILES):
        raise SystemExit("two policies are too few")
    for one in made:
        # IAM does not count blanks.
        size = len(json.dumps(one, separators=(",", ":")))
        if size > MOST:
            raise SystemExit(f"a policy has {size} characters")
    asked = set(re.findall(r"\b[a-z0-9]+:[A-Z]\w+", re.search(r"--action-names(.*?)--query", (ROOT / "deploy").read_text(), re.S)[1]))  # type: ignore[index]
    allowed = json.dumps(made)
    if unknown := [name for name in asked if f'"{name}"' not in allowed]:
        raise SystemExit(f"./deploy asks for what the policy lacks: {unknown}")
    if "--check" in sys.argv:
        stale = [str(file.relative_to(ROOT)) for file in FILES if (file.read_text() if file.exists() else "") != texts.get(file, "")]
        if stale:
            print(f"{', '.join(stale)}: not up to date; run tests/deploy/policy.py with cfn-lint's Python")
        return 1 if stale else 0
    for file in FILES:
        if file in texts:
            file.write_text(texts[file])
        else:
            file.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
