"""Events as EventBridge delivers them, for rules to be tried with.

Sources: Amazon ECR user guide, "Amazon ECR events and EventBridge"; the schemas `aws.ecr@ECRReplicationAction` and
`aws.ecr@ECRPullThroughCacheAction` of EventBridge's registry; Amazon ECS developer guide, "Amazon ECS task state change
events".
"""

import copy
from typing import Any

PUSH = "ECR Image Action"
REPLICATION = "ECR Replication Action"
PULL_THROUGH = "ECR Pull Through Cache Action"
ECR_TYPES = (PUSH, REPLICATION, PULL_THROUGH)
DIGEST = "sha256:" + "a" * 64

Event = dict[str, Any]


def event(source: str, detail_type: str, account: str, region: str, detail: dict[str, Any]) -> Event:
    """An event with all members that EventBridge gives one."""
    return {
        "version": "0", "id": "13cde686-328b-6117-af20-0e5566167482", "detail-type": detail_type, "source": source,
        "account": account, "time": "2026-01-02T03:04:05Z", "region": region, "resources": [], "detail": detail,
    }


def image_has_come(detail_type: str, account: str, region: str, partition: str = "aws") -> Event:
    """The event of an image that has come into `prod/app` under the tag `1`."""
    subject = {"repository-name": "prod/app", "image-digest": DIGEST, "image-tag": "1"}
    if detail_type == PULL_THROUGH:
        found = event("aws.ecr", detail_type, account, region, {
            "rule-version": "1", "sync-status": "SUCCESS", "ecr-repository-prefix": "prod",
            "upstream-registry-url": "public.ecr.aws", **subject})
    elif detail_type == REPLICATION:
        found = event("aws.ecr", detail_type, account, region, {
            "action-type": "REPLICATE", "result": "SUCCESS", "source-account": "210987654321",
            "source-region": "us-west-2", **subject})
    else:
        found = event("aws.ecr", detail_type, account, region, {
            "action-type": "PUSH", "result": "SUCCESS",
            "manifest-media-type": "application/vnd.oci.image.manifest.v1+json",
            "artifact-media-type": "application/vnd.oci.image.config.v1+json", **subject})
        return found
    found["resources"] = [f"arn:{partition}:ecr:{region}:{account}:repository/prod/app"]
    return found


def with_detail(event_: Event, **changes: Any) -> Event:
    """The event with other members of `detail`, named with underscores; `None` takes one away."""
    changed = copy.deepcopy(event_)
    for name, value in changes.items():
        name = name.replace("_", "-")
        changed["detail"].pop(name, None)
        if value is not None:
            changed["detail"][name] = value
    return changed


def failed(event_: Event) -> Event:
    """The same, but it did not succeed."""
    if event_["detail-type"] == PULL_THROUGH:
        return with_detail(event_, sync_status="FAILURE")
    return with_detail(event_, result="FAILED" if event_["detail-type"] == REPLICATION else "FAILURE")


def others(account: str, region: str) -> dict[str, Event]:
    """Events of which no rule of ECR's images wants to know."""
    push = image_has_come(PUSH, account, region)
    scan = event("aws.ecr", "ECR Image Scan", account, region, {
        "scan-status": "COMPLETE", "repository-name": "prod/app", "image-digest": DIGEST, "image-tags": ["1"]})
    referrer = event("aws.ecr", "ECR Referrer Action", account, region, {
        "action-type": "PUSH", "result": "SUCCESS", "repository-name": "prod/app", "image-digest": DIGEST,
        "artifact-media-type": "application/vnd.dev.cosign.artifact.sig.v1+json"})
    return {
        "deletion": with_detail(push, action_type="DELETE"),
        "change of the storage class": with_detail(push, action_type="UPDATE_STORAGE_CLASS"),
        "scan": scan,
        "referrer": referrer,
        "push that somebody else tells of": {**push, "source": "my.ecr"},
    }


def task_stopped(cluster: str, account: str, region: str, **detail: Any) -> Event:
    """The event of a task of the cluster's service that has stopped by itself."""
    return event("aws.ecs", "ECS Task State Change", account, region, {
        "clusterArn": cluster, "lastStatus": "STOPPED", "desiredStatus": "STOPPED", "group": "service:soci-Service",
        "launchType": "FARGATE", "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited", **detail})
