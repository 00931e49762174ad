"""The cases of `tests/aws/run lint`, for a Python that has parliament.

parliament finds nothing in the policies of the template as they are once its parameters are filled in, in three
partitions: unknown actions, resources that do not fit them, conditions that never hold. It knows no policies of trust.
"""

import json

import parliament

import resolve
from cases import Failed, none, run

TEMPLATE = resolve.load()
GIVEN = {
    "SociRepositoryImageTagFilters": "prod*:v*,team/*:*", "QueueAges": "true", "DeadLettersOnPage": "true",
    "BackfillArchiveDays": "7", "EventBus": "images",
}


# Of no other partition parliament takes ARNs.
KNOWN = ("aws", "aws-cn", "aws-us-gov")


def findings(policy: object) -> list[str]:
    """What parliament says of a policy."""
    return [str(finding) for finding in parliament.analyze_policy_string(json.dumps(policy)).findings]


def parliament_finds_nothing(partition: str) -> None:
    """Every policy is read, and nothing is said of it."""
    region, _ = resolve.PARTITIONS[partition]
    key = f"arn:{partition}:kms:{region}:{resolve.ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
    policies = resolve.Stack(TEMPLATE, {**GIVEN, "KmsKeyArn": key}, partition).policies()
    none(
        f"{name}: {finding}" for name, (kind, policy) in policies.items() if kind != "trust" for finding in findings(policy)
    )
    print(f"    {partition}: {sum(kind != 'trust' for kind, _ in policies.values())} policies")


def parliament_finds_what_is_wrong() -> None:
    """A queue is no bucket, and there is no such action."""
    for action in ("s3:GetObject", "sqs:Send"):
        statement = {"Effect": "Allow", "Action": action, "Resource": f"arn:aws:sqs:eu-west-1:{resolve.ACCOUNT}:queue"}
        if not findings({"Version": "2012-10-17", "Statement": [statement]}):
            raise Failed(f"nothing is said of {action} on a queue")


if __name__ == "__main__":
    run([("lint: parliament finds what is wrong", parliament_finds_what_is_wrong)] + [
        (f"lint: {partition}: parliament finds nothing in the policies",
         lambda partition=partition: parliament_finds_nothing(partition))
        for partition in KNOWN
    ])
