"""The core alone (templates/core.yaml): the index Lambda reads the queue, and there are no tasks.

What fails in passing comes again as a fresh copy, with pauses, and is a letter after so many tries; the function says how old
the job is each time. What the function dies on comes again when its message's visibility timeout ends, and SQS moves it after
so many receives; only Lambda says something of that.
"""

import math
import pathlib
import random

from cloud import IDS, TOPIC, Cloud, World
from metric_math import MathError
from resolve import Stack, load
from series import Key, Metrics
from watch import alarms_of
from work import MINUTE, Clock, Image, Message, Queue

# index-lambda/src/work.rs, and the template's queues.
TRIES, FIRST_PAUSE, LONGEST_PAUSE = 13, 60, 900
VISIBILITY_TIMEOUT, RECEIVES = 960, 5


class Function:
    """The index Lambda and the queues that it reads."""

    def __init__(self, clock: Clock, asleep: bool):
        self.clock = clock
        touched = -math.inf if asleep else 0.0
        self.queues = {"live": Queue("live", touched), "backfill": Queue("backfill", touched)}
        self.letters = Queue("letters", touched)
        self.images: list[Image] = []
        self.started: list[float] = []
        self.cloud: "CoreCloud"

    def push(self, at: float, image: Image) -> Image:
        image.pushed = at
        self.images.append(image)
        self.clock.at(at, lambda: self.send(Message(image, "live", at)))
        return image

    def send(self, message: Message) -> None:
        queue = self.queues["live"]
        queue.sent += 1
        message.sent = queue.touched = self.clock.now
        queue.visible.append(message)
        self.receive(message)

    def receive(self, message: Message) -> None:
        queue, now, image = self.queues["live"], self.clock.now, message.image
        queue.visible.remove(message)
        queue.touched = now
        if message.receives == RECEIVES:
            self.letter(image, moved=True)
            return
        message.receives += 1
        image.runs += 1
        queue.in_flight.append(message)
        self.clock.at(now + image.seconds, lambda: self.end(message))

    def end(self, message: Message) -> None:
        queue, now, image = self.queues["live"], self.clock.now, message.image
        if image.fault == "fatal":
            self.cloud.died()

            def appear() -> None:
                queue.in_flight.remove(message)
                queue.visible.append(message)
                self.receive(message)
            self.clock.at(now + VISIBILITY_TIMEOUT - image.seconds, appear)
            return
        queue.in_flight.remove(message)
        queue.deleted += 1
        self.cloud.emf("JobAgeSeconds", now - image.pushed, Lane="live")
        if not image.fault:
            image.done = now
        elif message.tries + 1 == TRIES:
            self.letter(image)
        else:
            copy = Message(image, "live", now, message.tries + 1)
            pause = min(FIRST_PAUSE * 2**message.tries, LONGEST_PAUSE)
            self.clock.at(now + pause, lambda: self.send(copy))

    def letter(self, image: Image, moved: bool = False) -> None:
        image.letter = self.letters.touched = self.clock.now
        self.letters.visible.append(Message(image, "letters", self.clock.now))
        self.letters.sent += not moved


class CoreCloud(Cloud):
    """A stack of the core in a world."""

    def __init__(self, template: pathlib.Path, world: World, seed: int, asleep: bool = False, **parameters: str):
        self.world, self.chance = world, random.Random(f"{seed} {world.name}")
        self.silences = []
        stack = Stack(load(template.parent / "templates/core.yaml"), {"AlarmTopicArn": TOPIC, **parameters})
        self.clock, self.metrics = Clock(), Metrics()
        self.service = Function(self.clock, asleep)
        self.service.cloud = self
        self.names = {name: stack.name(queue) for name, queue in IDS.items()}
        self.errors = Key.of("AWS/Lambda", "Errors", FunctionName=stack.name("IndexFunction"))
        self.alarms = {alarm.name: alarm for alarm in alarms_of(stack, world.extra_points)}
        if any(alarm.actions != [TOPIC] for alarm in self.alarms.values()):
            raise MathError("the core has nothing that scales")
        self.reports_from = {name: math.inf if asleep else 0.0 for name in IDS}
        self.history = [(0.0, 0, 0, 0)]
        self.clock.at(MINUTE, self.minute)

    def died(self) -> None:
        self.metrics.put(self.errors, self.clock.now, 1, 60)

    def minute(self) -> None:
        now = self.clock.now
        # Lambda asks all the time.
        for queue in self.service.queues.values():
            queue.touched = now
            self.count(queue)
        self.count(self.service.letters)
        self.clock.at(now + 5, self.look)
        self.clock.at(now + MINUTE, self.minute)

    def look(self) -> None:
        for alarm in self.alarms.values():
            alarm.evaluate(self.metrics, self.world.readings, self.clock.now)

    def task_hours(self) -> float:
        return 0.0
