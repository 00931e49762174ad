"""Which events the rules of a stack should let through, for tests/aws/run and for `preflight`."""

from typing import Any

import events
import resolve

OTHER_ACCOUNT, OTHER_REGION = "210987654321", "ap-southeast-2"
# Events by what they are, and whether they should go through.
Samples = dict[str, tuple[events.Event, bool]]


def foreign(event: events.Event) -> dict[str, events.Event]:
    """The same event as a bus has it that collects those of others."""
    return {
        "another account": {**event, "account": OTHER_ACCOUNT},
        "another region": {**event, "region": OTHER_REGION},
    }


def of_pushes(stack: resolve.Stack) -> Samples:
    """Samples for the rule for pushes."""
    suffix, types = stack.values["OutputTagSuffix"], stack.reference("EventTypes")
    marked = stack.values["SociIndexVersion"] == "V2" and suffix != ""
    samples = {name: (event, False) for name, event in events.others(stack.account, stack.region).items()}
    for kind in events.ECR_TYPES:
        wanted = kind in types
        came = events.image_has_come(kind, stack.account, stack.region, stack.partition)
        samples |= {
            kind: (came, wanted),
            f"{kind}, repository of other filters": (events.with_detail(came, repository_name="dev/app"), wanted),
            f"{kind}, failed": (events.failed(came), False),
            f"{kind}, no tag": (events.with_detail(came, image_tag=None), wanted and not marked),
            # The filter Lambda knows that this is no tag.
            f"{kind}, empty tag": (events.with_detail(came, image_tag=""), wanted),
            f"{kind}, own tag": (events.with_detail(came, image_tag=f"1{suffix}"), wanted and not marked),
            f"{kind}, tag is the suffix": (events.with_detail(came, image_tag=suffix), wanted and not marked),
            f"{kind}, suffix in the midst": (events.with_detail(came, image_tag=f"1{suffix}-2"), wanted),
        }
        for where, event in foreign(came).items():
            samples[f"{kind}, {where}"] = (event, False)
    return samples


def of_tasks(stack: resolve.Stack) -> Samples:
    """Samples for the rule that tells of tasks which died or did not start."""
    cluster = stack.arn("Cluster")

    def stopped(**detail: Any) -> events.Event:
        return events.task_stopped(cluster, stack.account, stack.region, **detail)

    scaled = {"stopCode": "ServiceSchedulerInitiated"}
    return {
        "a container that exits": (stopped(), True),
        "a task that does not start": (
            stopped(stopCode="TaskFailedToStart", stoppedReason="CannotPullContainerError: pull image manifest"), True),
        "a health check that fails": (
            stopped(**scaled, stoppedReason="Task failed container health checks"), True),
        "scaling in": (
            stopped(**scaled, stoppedReason="Scaling activity initiated by (deployment ecs-svc/1)"), False),
        "an interruption of Spot": (
            stopped(stopCode="SpotInterruption", stoppedReason="Your Spot Task was interrupted."), False),
        "a task that somebody stopped": (stopped(stopCode="UserInitiated", stoppedReason="by hand"), False),
        "a task that runs": (stopped(lastStatus="RUNNING"), False),
        "a task of an operator": (stopped(group="family:operator"), False),
        "a task of another cluster": (events.task_stopped(cluster + "2", stack.account, stack.region), False),
    }
