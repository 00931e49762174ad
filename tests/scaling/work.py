"""Images, messages, queues and tasks: what happens on the service's side of the metrics."""

import collections
import dataclasses
import heapq
import math
import random
from collections.abc import Callable

MINUTE, HOUR, DAY = 60, 3600, 86_400
VISIBILITY_TIMEOUT = 120
# crates/soci-service: pauses between tries, age at which a job is given up, receives after which a letter is written.
FIRST_PAUSE, LONGEST_PAUSE, MAX_JOB_AGE, MAX_RECEIVES = 30, 900, DAY, 5
# crates/soci-service/src/protection/settings.rs
LINGER, LONGEST_PROTECTION, PROTECTION_PAUSE = 30, HOUR, 180
DRAIN = 100
# Fargate pulls the image and starts it.
START = (30, 90)


@dataclasses.dataclass(eq=False)
class Image:
    """An image that was pushed, and how indexing it goes."""

    seconds: float
    # "" for one that works, "transient" for tries that all fail, "permanent" for a letter at once, "fatal" for one on
    # which the process dies.
    fault: str = ""
    pushed: float = 0.0
    runs: int = 0
    done: float | None = None
    letter: float | None = None


@dataclasses.dataclass(eq=False)
class Message:
    """A message of a job; a job that is tried again has a fresh one."""

    image: Image
    lane: str
    sent: float
    tries: int = 0
    receives: int = 0


class Clock:
    """What happens when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0

    def at(self, time: float, what: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (time, self.count, what))

    def run(self, until: float) -> None:
        while self.events and self.events[0][0] <= until:
            self.now, _, what = heapq.heappop(self.events)
            what()
        self.now = until


class Queue:
    """A queue of SQS; `touched` is when it was last used."""

    def __init__(self, name: str, touched: float):
        self.name, self.touched = name, touched
        self.visible: collections.deque[Message] = collections.deque()
        self.in_flight: list[Message] = []
        self.delayed: list[Message] = []
        self.sent = self.deleted = 0

    def all(self) -> list[Message]:
        return [*self.visible, *self.in_flight, *self.delayed]


@dataclasses.dataclass(eq=False)
class Task:
    """A task of the service."""

    revision: int
    asked: float
    running: bool = False
    draining: bool = False
    jobs: list[Message] = dataclasses.field(default_factory=list)
    busy_since: float | None = None
    idle_since: float = 0.0

    def is_protected(self, now: float) -> bool:
        if not self.jobs:
            return self.busy_since is not None and now < self.idle_since + LINGER
        # After an hour in one go it is let go for three minutes, in which a deployment can stop it.
        return (now - (self.busy_since or 0.0)) % (LONGEST_PROTECTION + PROTECTION_PAUSE) < LONGEST_PROTECTION


class Service:
    """Queues, and the tasks that ECS keeps at the desired count."""

    def __init__(self, clock: Clock, chance: random.Random, slots: int, asleep: bool):
        self.clock, self.chance, self.slots = clock, chance, slots
        touched = -math.inf if asleep else 0.0
        self.queues = {name: Queue(name, touched) for name in ("live", "backfill")}
        self.letters = Queue("letters", touched)
        self.tasks: list[Task] = []
        self.desired = self.revision = 0
        # Until then no task starts: no capacity, or an image that cannot be pulled.
        self.starts_from = 0.0
        self.images: list[Image] = []
        self.started: list[float] = []
        self.task_seconds = 0.0
        self.told_at = -math.inf
        # What CloudWatch's metrics are made of; cloud.py looks.
        self.on_enqueued: Callable[[], None] = lambda: None
        self.on_job_end: Callable[[Message, bool], None] = lambda message, is_over: None
        self.on_task_failure: Callable[[], None] = lambda: None
        clock.at(0.0, self.reconcile)

    def push(self, at: float, image: Image, lane: str = "live", told: bool = True, delay: float = 0.0) -> Image:
        """An image is pushed and its job enqueued: by the filter Lambda, with a delay by the index Lambda, or on the
        backfill's queue by a command. Unless that is not told where to, CloudWatch hears of it."""
        image.pushed = at
        self.images.append(image)
        self.clock.at(at, lambda: self.enqueue(image, lane, told, delay))
        return image

    def enqueue(self, image: Image, lane: str, told: bool, delay: float) -> None:
        self.send(Message(image, lane, self.clock.now), delay)
        # A function says so each time, a command at once and then each minute.
        if told and (lane == "live" or self.clock.now - self.told_at >= MINUTE):
            self.told_at = self.clock.now
            self.on_enqueued()

    def deploy(self, at: float) -> None:
        def begin() -> None:
            self.revision += 1
        self.clock.at(at, begin)

    def look_at_letters(self, at: float, seconds: float) -> None:
        letters = self.letters

        def hide() -> None:
            letters.in_flight, letters.visible = list(letters.visible), collections.deque()
            self.clock.at(self.clock.now + seconds, show)

        def show() -> None:
            letters.visible.extendleft(letters.in_flight)
            letters.in_flight = []
        self.clock.at(at, hide)

    def send(self, message: Message, delay: float = 0.0) -> None:
        queue = self.queues[message.lane]
        queue.touched = self.clock.now
        queue.sent += 1
        if not delay:
            queue.visible.append(message)
            self.clock.at(self.clock.now + self.chance.uniform(0.2, 2), self.dispatch)
            return
        queue.delayed.append(message)

        def appear() -> None:
            queue.delayed.remove(message)
            queue.visible.append(message)
            self.dispatch()
        self.clock.at(self.clock.now + delay, appear)

    def dispatch(self) -> None:
        """Tasks with free slots receive, the live queue first."""
        free = [task for task in self.tasks if task.running and not task.draining and len(task.jobs) < self.slots]
        for queue in self.queues.values():
            while queue.visible and free:
                task = self.chance.choice(free)
                self.begin(task, queue, queue.visible.popleft())
                if len(task.jobs) == self.slots:
                    free.remove(task)

    def begin(self, task: Task, queue: Queue, message: Message) -> None:
        now = self.clock.now
        queue.touched = now
        queue.in_flight.append(message)
        message.receives += 1
        message.image.runs += 1
        if task.busy_since is None or not task.is_protected(now):
            task.busy_since = now
        task.jobs.append(message)
        last = message.receives == MAX_RECEIVES
        seconds = 1.0 if last else message.image.seconds * self.chance.uniform(0.8, 1.2)
        self.clock.at(now + seconds, lambda: self.end(task, message))

    def end(self, task: Task, message: Message) -> None:
        if message not in task.jobs:
            return
        now, image = self.clock.now, message.image
        if image.fault == "fatal" and message.receives < MAX_RECEIVES:
            self.die(task)
            return
        self.leave(task, message)
        old = now - image.pushed >= MAX_JOB_AGE
        if image.fault == "transient" and not old:
            pause = min(FIRST_PAUSE * 2**message.tries, LONGEST_PAUSE)
            self.send(Message(image, message.lane, now, message.tries + 1), pause)
        elif image.fault:
            self.letter(image)
        else:
            image.done = now
        self.on_job_end(message, image.fault != "transient" or old)
        self.dispatch()

    def letter(self, image: Image, moved: bool = False) -> None:
        """An image gets a letter: a worker writes it, or SQS moves a message, which does not count as sent."""
        image.letter = self.clock.now
        self.letters.visible.append(Message(image, "letters", self.clock.now))
        self.letters.sent += not moved
        self.letters.touched = self.clock.now

    def move(self, at: float) -> Image:
        """SQS moves the message of an image that was received too often, of which no worker says anything."""
        image = Image(0, "moved", pushed=at)
        self.images.append(image)
        self.clock.at(at, lambda: self.letter(image, moved=True))
        return image

    def leave(self, task: Task, message: Message) -> None:
        task.jobs.remove(message)
        if not task.jobs:
            task.idle_since = self.clock.now
        queue = self.queues[message.lane]
        queue.in_flight.remove(message)
        queue.deleted += 1

    def die(self, task: Task) -> None:
        """The process ends; its messages come again when their visibility timeouts end."""
        self.tasks.remove(task)
        self.on_task_failure()
        for message in task.jobs:
            def appear(message: Message = message) -> None:
                queue = self.queues[message.lane]
                queue.in_flight.remove(message)
                queue.visible.append(message)
                self.dispatch()
            self.clock.at(self.clock.now + self.chance.uniform(VISIBILITY_TIMEOUT / 2, VISIBILITY_TIMEOUT), appear)
        task.jobs = []

    def running(self) -> int:
        return sum(task.running for task in self.tasks)

    def reconcile(self) -> None:
        """What ECS does every ten seconds."""
        now = self.clock.now
        self.task_seconds += 10 * len(self.tasks)
        alive = [task for task in self.tasks if not task.draining]
        new = [task for task in alive if task.revision == self.revision]
        old = [task for task in alive if task.revision != self.revision]
        if len(new) < self.desired:
            for _ in range(min(self.desired - len(new), 2 * self.desired - len(alive))):
                self.start()
        # Old ones go when the new ones run; what is too many goes, but for those that are protected.
        enough = sum(task.running for task in new) >= self.desired
        leaving = old if enough else []
        excess = max(0, len(new) - self.desired) if enough else 0
        unprotected = [task for task in new if not task.is_protected(now)]
        waiting = [task for task in unprotected if not task.running]
        rest = [task for task in unprotected if task.running]
        self.chance.shuffle(rest)
        for task in [*(one for one in leaving if not one.is_protected(now)), *(waiting + rest)[:excess]]:
            self.stop(task)
        self.clock.at(now + 10, self.reconcile)

    def start(self) -> None:
        task = Task(self.revision, self.clock.now)
        self.tasks.append(task)

        def run() -> None:
            if task not in self.tasks:
                return
            if self.clock.now < self.starts_from:
                self.clock.at(self.starts_from + self.chance.uniform(*START), run)
                return
            task.running = True
            self.started.append(self.clock.now)
            self.dispatch()
        self.clock.at(self.clock.now + self.chance.uniform(*START), run)

    def stop(self, task: Task) -> None:
        task.draining = True

        def gone() -> None:
            if task not in self.tasks:
                return
            self.tasks.remove(task)
            for message in list(task.jobs):
                self.leave(task, message)
                self.send(Message(message.image, message.lane, self.clock.now, message.tries))
                self.on_job_end(message, False)
        self.clock.at(self.clock.now + (DRAIN if task.jobs else 1), gone)
