"""The service, its metrics as AWS sends them, and the template's alarms and policies, minute by minute.

- SQS sends a queue's metrics for a minute some seconds after it, for as long as the queue is active: it holds messages or
  was used in the last six hours. A queue that wakes up reports after up to 15 minutes (SQS developer guide, "Available
  CloudWatch metrics").
- ECS sends a sample of the CPU for each running task, a minute or two late.
- Metrics in log lines of the worker and the functions, and those that a command sends, come some seconds late, and only when
  something happens.
"""

import dataclasses
import math
import pathlib
import random

from alarms import ALARM
from autoscaling import Habits, Request, ScalableTarget
from metric_math import Readings
from resolve import STACK, Stack, load
from series import Key, Metrics
from watch import alarms_of
from work import HOUR, MINUTE, Clock, Message, Queue, Service

NAMESPACE = f"soci-index-builder/{STACK}"
ACTIVE = 6 * HOUR
IDS = {"live": "Queue", "backfill": "BackfillQueue", "letters": "DeadLetterQueue"}
TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"


@dataclasses.dataclass(frozen=True)
class World:
    """How AWS behaves where its guides leave room."""

    name: str = "as the guides read"
    readings: Readings = Readings()
    habits: Habits = Habits()
    # Points beyond the evaluated ones that an alarm asks for.
    extra_points: int = 2
    # Whether SQS leaves out counts of 0.
    drops_zeros: bool = False
    # Whether what a queue counted while it woke up comes late, or never.
    wakes_with_past: bool = False
    # Seconds after which a minute's samples of ECS can be read.
    ecs_late: tuple[float, float] = (60, 120)
    # Share of the minutes of which a queue says nothing, and of those in which a count is too low by one: they are
    # approximate (SQS developer guide, "Distributed queues"), and delivery is best effort.
    gaps: float = 0.0
    wobbles: float = 0.0

    def flawed(self) -> "World":
        # One point more than it evaluates is the least that an alarm asks for.
        return dataclasses.replace(self, name=f"{self.name}, with gaps", gaps=0.01, wobbles=0.005, extra_points=1)


READ = World()
READABLE = World(
    "as they could be read",
    Readings(fills_empty=False, missing_is_zero=False),
    Habits(gradual=True, compares=False),
    extra_points=5,
    drops_zeros=True,
    wakes_with_past=True,
)
WORLDS = (READ, READABLE, READ.flawed(), READABLE.flawed())


class Cloud:
    """A stack of the template in a world."""

    def __init__(self, template: pathlib.Path, world: World, seed: int, asleep: bool = False, **parameters: str):
        self.world, self.chance = world, random.Random(f"{seed} {world.name}")
        # From when to when no queue says anything, beside what `world` has of that.
        self.silences: list[tuple[float, float]] = []
        stack = Stack(load(template), {"AlarmTopicArn": TOPIC, **parameters})
        self.clock, self.metrics = Clock(), Metrics()
        slots = int(stack.values["MaxConcurrentImages"])
        self.service = Service(self.clock, self.chance, slots, asleep)
        self.names = {name: stack.name(queue) for name, queue in IDS.items()}
        self.ecs = Key.of("AWS/ECS", "CPUUtilization", ClusterName=stack.name("Cluster"), ServiceName=stack.name("Service"))
        self.failures = Key.of("AWS/Events", "Invocations", RuleName=stack.name("TaskFailureRule"))
        self.target = ScalableTarget(stack, world.habits)
        self.service.desired = self.target.least
        self.alarms = {alarm.name: alarm for alarm in alarms_of(stack, world.extra_points)}
        # A queue that wakes up reports from here on.
        self.reports_from = {name: math.inf if asleep else 0.0 for name in IDS}
        # Of each minute: tasks that run, tasks that are wanted, messages.
        self.history: list[tuple[float, int, int, int]] = []
        self.service.on_enqueued = lambda: self.emf("Enqueued", 1)
        self.service.on_job_end = self.job_ended
        self.service.on_task_failure = lambda: self.metrics.put(self.failures, self.clock.now, 1, 60)
        self.clock.at(MINUTE, self.minute)

    def emf(self, name: str, value: float, **dimensions: str) -> None:
        self.metrics.put(Key.of(NAMESPACE, name, **dimensions), self.clock.now, value, self.chance.uniform(10, 45))

    def job_ended(self, message: Message, is_over: bool) -> None:
        self.emf("Jobs", 1)
        self.emf("JobsDone", float(is_over))
        self.emf("JobAgeSeconds", self.clock.now - message.image.pushed, Lane=message.lane)

    def minute(self) -> None:
        """A minute has ended: its samples are sent, then alarms look at what has arrived."""
        now, service = self.clock.now, self.service
        running = service.running()
        if running:
            late = self.chance.uniform(*self.world.ecs_late)
            self.metrics.put(self.ecs, now - 1, 40, 1 + late, running)
            # Workers ask all the time, and say each minute what the queues' attributes are.
            for queue in service.queues.values():
                queue.touched = now
                self.emf("MessagesVisible", len(queue.visible), Lane=queue.name)
                self.emf("MessagesInFlight", len(queue.in_flight), Lane=queue.name)
                self.emf("MessagesDelayed", len(queue.delayed), Lane=queue.name)
        for queue in [*service.queues.values(), service.letters]:
            self.count(queue)
        messages = sum(len(queue.all()) for queue in service.queues.values())
        self.history.append((now, running, service.desired, messages))
        self.clock.at(now + 5, self.look)
        self.clock.at(now + MINUTE, self.minute)

    def count(self, queue: Queue) -> None:
        now = self.clock.now
        found = queue.all()
        sent, deleted, queue.sent, queue.deleted = queue.sent, queue.deleted, 0, 0
        if not found and now - queue.touched > ACTIVE:
            self.reports_from[queue.name] = math.inf
            return
        if self.reports_from[queue.name] == math.inf:
            self.reports_from[queue.name] = now + self.chance.uniform(600, 900)
        silent = any(begin <= now < end for begin, end in self.silences)
        if silent or self.world.gaps and self.chance.random() < self.world.gaps:
            return
        late = self.chance.uniform(10, 45)
        if now < self.reports_from[queue.name]:
            if not self.world.wakes_with_past:
                return
            late += self.reports_from[queue.name] - now
        young = [message.sent for message in found if message.receives < 3]
        counts = {
            "ApproximateNumberOfMessagesVisible": len(queue.visible),
            "ApproximateNumberOfMessagesNotVisible": len(queue.in_flight),
            "ApproximateNumberOfMessagesDelayed": len(queue.delayed),
            "ApproximateAgeOfOldestMessage": now - min(young) if young else 0,
            "NumberOfMessagesSent": sent,
            "NumberOfMessagesDeleted": deleted,
        }
        for name, value in counts.items():
            if value and name.startswith("ApproximateNumber") and self.world.wobbles:
                value -= self.chance.random() < self.world.wobbles
            if value or not self.world.drops_zeros:
                key = Key.of("AWS/SQS", name, QueueName=self.names[queue.name])
                self.metrics.put(key, now - 1, value, 1 + late)

    def look(self) -> None:
        requests = []
        for alarm in self.alarms.values():
            alarm.evaluate(self.metrics, self.world.readings, self.clock.now)
            if alarm.state == ALARM and alarm.latest is not None:
                policies = [name for name in alarm.actions if name in self.target.policies]
                requests.extend(Request(name, alarm.latest, alarm.rule.threshold) for name in policies)
        self.chance.shuffle(requests)
        self.service.desired = self.target.ask(requests, self.service.desired, self.clock.now)

    def run(self, until: float) -> "Cloud":
        self.clock.run(until)
        return self

    # What became of it.

    def notified(self) -> dict[str, list[float]]:
        """The alarms that told somebody, and when."""
        return {name: alarm.raised for name, alarm in self.alarms.items() if alarm.raised and TOPIC in alarm.actions}

    def most_tasks(self) -> int:
        return max(running for _, running, _, _ in self.history)

    def most_desired(self) -> int:
        return max((after for _, _, after, _ in self.target.activities), default=self.target.least)

    def changes(self) -> list[float]:
        """When another number of tasks was wanted."""
        return [time for time, _, _, _ in self.target.activities]

    def lowered_by(self, policy: str) -> list[float]:
        """When a policy took tasks away."""
        return [time for time, before, after, whose in self.target.activities if whose == policy and after < before]

    def idle_minutes_before_zero(self) -> list[int]:
        """For each time that the last task was taken away: the whole minutes before that without any message."""
        found = []
        for at, _, after, _ in self.target.activities:
            if after == 0:
                idle = 0
                for time, _, _, messages in reversed(self.history):
                    if time <= at and messages:
                        break
                    idle += time <= at
                found.append(idle)
        return found

    def task_hours(self) -> float:
        return self.service.task_seconds / HOUR
