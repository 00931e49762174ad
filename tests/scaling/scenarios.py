"""The scenarios: what is pushed, and what has to become of it.

Each is a function that takes a stack's maker, and gives the stack after it ran together with what is not as it should be.
"""

import dataclasses
import random
from collections.abc import Callable, Iterator

from cloud import Cloud, World
from core import CoreCloud
from work import DAY, HOUR, MINUTE, Image

Make = Callable[..., Cloud]


@dataclasses.dataclass
class Outcome:
    """A stack after a scenario, and what is wrong."""

    cloud: Cloud
    wrong: list[str]
    first_task: float | None = None


class Expect:
    """Collects what is wrong."""

    def __init__(self, cloud: Cloud):
        self.cloud, self.wrong = cloud, []

    def that(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.wrong.append(otherwise)

    def alarms(self, *expected: str) -> None:
        """Exactly these tell somebody."""
        told = set(self.cloud.notified())
        self.that(told == set(expected), f"alarms {sorted(told)} instead of {sorted(expected)}")

    def told_within(self, name: str, since: float, limit: float) -> None:
        raised = [time for time in self.cloud.notified().get(name, []) if since <= time <= since + limit]
        times = [round(time - since) for time in self.cloud.notified().get(name, [])]
        self.that(bool(raised), f"{name} came {times} s after {since / HOUR:.1f} h instead of within {limit} s")

    def most(self, tasks: int) -> None:
        found = self.cloud.most_desired()
        self.that(found <= tasks, f"{found} tasks were wanted, {tasks} are enough")

    def all_done(self, within: float) -> None:
        images = self.cloud.service.images
        lacking = [image for image in images if image.done is None and image.letter is None]
        self.that(not lacking, f"{len(lacking)} images are not done")
        slow = max((image.done - image.pushed for image in images if image.done is not None), default=0.0)
        self.that(slow <= within, f"an image was done after {slow:.0f} s instead of {within:.0f}")

    def done_once(self) -> None:
        again = [image for image in self.cloud.service.images if image.runs != 1]
        self.that(not again, f"{len(again)} images were begun more than once")

    def idles_a_quarter_of_an_hour(self) -> None:
        """Tasks go after fifteen minutes without work, not before and not much later; of several, some go first."""
        latest = 21 if self.cloud.most_desired() == 1 else 25
        for minutes in self.cloud.idle_minutes_before_zero():
            self.that(14 <= minutes <= latest, f"the last task was taken away after {minutes} idle minutes")

    def asleep(self) -> None:
        self.that(not self.cloud.service.tasks, f"{len(self.cloud.service.tasks)} tasks run at the end")

    def never_woken_down(self) -> None:
        """What sets the first task takes none away."""
        lowered = self.cloud.lowered_by("WakePolicy")
        self.that(not lowered, f"WakePolicy took tasks away {len(lowered)} times")

    def told_once(self, name: str, *each: float) -> None:
        """It tells once of each of these, within twenty-five minutes."""
        raised = self.cloud.alarms[name].raised
        hours = [round(time / HOUR, 2) for time in raised]
        self.that(len(raised) == len(each), f"{name} told {len(raised)} times instead of {len(each)}: after {hours} h")
        for since in each:
            self.told_within(name, since, 25 * MINUTE)

    def outcome(self, pushed: float | None = None) -> Outcome:
        started = [time for time in self.cloud.service.started if pushed is None or time >= pushed]
        begin = pushed if pushed is not None else min(image.pushed for image in self.cloud.service.images)
        # A task that was there before says nothing.
        first = started[0] - begin if started and started[0] > begin else None
        return Outcome(self.cloud, self.wrong, first)


def one_image_an_hour(make: Make) -> Outcome:
    cloud = make(asleep=True)
    for hour in range(12):
        cloud.service.push(10 * MINUTE + hour * HOUR + 7, Image(20))
    expect = Expect(cloud.run(13 * HOUR))
    expect.all_done(within=6 * MINUTE)
    expect.most(1)
    expect.idles_a_quarter_of_an_hour()
    expect.that(cloud.task_hours() <= 12 * 0.5, f"{cloud.task_hours():.1f} task-hours")
    expect.asleep()
    expect.alarms()
    return expect.outcome()


def an_image_every_four_minutes(make: Make) -> Outcome:
    cloud = make(asleep=True)
    for number in range(30):
        cloud.service.push(10 * MINUTE + number * 4 * MINUTE, Image(50))
    expect = Expect(cloud.run(4 * HOUR))
    expect.all_done(within=6 * MINUTE)
    expect.that(len(cloud.service.started) == 1, f"{len(cloud.service.started)} tasks were started for one's work")
    expect.idles_a_quarter_of_an_hour()
    expect.asleep()
    expect.alarms()
    return expect.outcome()


def steady(make: Make, every: float, seconds: float, hours: float, changes: int) -> Outcome:
    """As many images in work at any time as take more than one task, for hours."""
    cloud = make(asleep=True)
    for number in range(int(hours * HOUR / every)):
        cloud.service.push(10 * MINUTE + number * every, Image(seconds))
    expect = Expect(cloud.run((hours + 3) * HOUR))
    expect.never_woken_down()
    expect.all_done(within=35 * MINUTE)
    found = len(cloud.changes())
    expect.that(found <= changes, f"the number of tasks was changed {found} times instead of {changes}")
    expect.asleep()
    expect.alarms()
    return expect.outcome()


def an_image_a_minute_of_five(make: Make) -> Outcome:
    # A task takes four at once and a ninth asks for a second task, so there is a second one now and then.
    return steady(make, 60, 300, 6, 40)


def three_images_a_minute_of_five(make: Make) -> Outcome:
    return steady(make, 20, 280, 3, 24)


def pushes_when_the_last_task_goes(make: Make) -> Outcome:
    cloud = make(asleep=True)
    chance, time = random.Random(5), 10.0 * MINUTE
    while time < 16 * HOUR:
        cloud.service.push(time, Image(20))
        time += chance.uniform(14, 22) * MINUTE
    expect = Expect(cloud.run(18 * HOUR))
    # What told of the last task is old news for some minutes.
    expect.all_done(within=12 * MINUTE)
    expect.most(1)
    expect.asleep()
    expect.alarms()
    return expect.outcome()


def a_burst_of_1000(make: Make) -> Outcome:
    cloud = make(asleep=True)
    for number in range(1000):
        cloud.service.push(10 * MINUTE + number * 0.1, Image(40))
    expect = Expect(cloud.run(4 * HOUR))
    full = [time for time, running, _, _ in cloud.history if running == 4]
    expect.that(bool(full) and full[0] <= 28 * MINUTE, f"4 tasks ran after {full[:1]} s")
    expect.most(4)
    expect.all_done(within=65 * MINUTE)
    expect.done_once()
    expect.idles_a_quarter_of_an_hour()
    expect.asleep()
    expect.alarms()
    return expect.outcome()


def a_backfill_of_10000(make: Make) -> Outcome:
    cloud = make()
    for number in range(10_000):
        cloud.service.push(10 * MINUTE + number * 0.05, Image(30), "backfill")
    live = [cloud.service.push(hour * HOUR + 40 * MINUTE, Image(30)) for hour in range(1, 5)]
    expect = Expect(cloud.run(8 * HOUR))
    expect.most(4)
    expect.all_done(within=6.5 * HOUR)
    expect.done_once()
    slow = max((image.done or 1e9) - image.pushed for image in live)
    expect.that(slow < 5 * MINUTE, f"a push waited {slow:.0f} s behind the backfill")
    expect.idles_a_quarter_of_an_hour()
    expect.asleep()
    expect.alarms()
    return expect.outcome()


def a_backfill_into_a_stack_that_slept_a_week(make: Make) -> Outcome:
    cloud = make()
    week = 7.0 * DAY
    for number in range(200):
        cloud.service.push(week + number * 0.05, Image(30), "backfill")
    expect = Expect(cloud.run(week + 3 * HOUR))
    first = cloud.service.started[0] - week if cloud.service.started else 1e9
    expect.that(first <= 5 * MINUTE, f"the first task started after {first:.0f} s")
    expect.all_done(within=25 * MINUTE)
    # SQS may wake up after all is done. Then the last task goes some minutes early, and never with work in hand.
    expect.done_once()
    expect.asleep()
    expect.alarms()
    return expect.outcome(week)


def a_backfill_that_tells_nobody(make: Make) -> Outcome:
    cloud = make(asleep=True)
    for number in range(20):
        cloud.service.push(HOUR + number, Image(30), "backfill", told=False)
    expect = Expect(cloud.run(3 * HOUR))
    # Without the stack's namespace a command leaves it to SQS's own metrics, which come after up to fifteen minutes.
    expect.all_done(within=25 * MINUTE)
    expect.asleep()
    expect.alarms()
    return expect.outcome()


def the_index_lambda_hands_over(make: Make) -> Outcome:
    cloud = make()
    week = 7.0 * DAY
    # At once what failed in passing, and a minute later what only the registry says.
    cloud.service.push(week, Image(20))
    cloud.service.push(week + 6 * HOUR + 10, Image(2), delay=60)
    expect = Expect(cloud.run(week + 8 * HOUR))
    expect.all_done(within=5 * MINUTE)
    expect.done_once()
    expect.most(1)
    expect.idles_a_quarter_of_an_hour()
    expect.asleep()
    expect.alarms()
    return expect.outcome(week)


def a_long_image_of_two_hours(make: Make) -> Outcome:
    cloud = make(asleep=True)
    cloud.service.push(10 * MINUTE, Image(2 * HOUR))
    expect = Expect(cloud.run(5 * HOUR))
    expect.all_done(within=2.6 * HOUR)
    expect.done_once()
    expect.most(1)
    expect.idles_a_quarter_of_an_hour()
    expect.asleep()
    # It has waited and been worked on for more than an hour, which is what that alarm says.
    expect.alarms("OldestMessageAlarm")
    return expect.outcome()


def five_long_images_of_two_hours(make: Make) -> Outcome:
    cloud = make(asleep=True)
    for number in range(5):
        cloud.service.push(10 * MINUTE + number, Image(2 * HOUR))
    expect = Expect(cloud.run(8 * HOUR))
    expect.all_done(within=5.2 * HOUR)
    expect.done_once()
    expect.asleep()
    # One waits for hours and none is done, but the four in hand are worked on.
    expect.told_within("OldestMessageAlarm", 10 * MINUTE, 75 * MINUTE)
    expect.alarms("OldestMessageAlarm")
    return expect.outcome()


def an_image_that_fails_for_a_day(make: Make) -> Outcome:
    cloud = make(asleep=True)
    pushed = 10.0 * MINUTE
    cloud.service.push(pushed, Image(20, "transient"))
    expect = Expect(cloud.run(29 * HOUR))
    expect.told_within("NoProgressAlarm", pushed, 80 * MINUTE)
    expect.told_within("OldestMessageAlarm", pushed, 85 * MINUTE)
    raised = len(cloud.notified().get("OldestMessageAlarm", []))
    expect.that(raised <= 1, f"OldestMessageAlarm told {raised} times of one image")
    expect.told_within("DeadLetterAlarm", pushed + DAY, 30 * MINUTE)
    expect.most(1)
    expect.that(len(cloud.service.started) <= 2, f"{len(cloud.service.started)} tasks were started for one image")
    expect.asleep()
    return expect.outcome()


def two_letters_five_hours_apart(make: Make) -> Outcome:
    cloud = make(asleep=True)
    first, second = 10.0 * MINUTE, 5.5 * HOUR
    for time in (first, second):
        cloud.service.push(time, Image(20, "permanent"))
    # Somebody looks at the first for some minutes, which hides it.
    cloud.service.look_at_letters(3.0 * HOUR, 150)
    expect = Expect(cloud.run(9 * HOUR))
    # A queue of letters that was idle reports late.
    expect.told_once("DeadLetterAlarm", first, second)
    expect.that(
        cloud.alarms["DeadLetterAlarm"].state == "OK", "DeadLetterAlarm stays while letters are there that are not new"
    )
    expect.alarms("DeadLetterAlarm")
    return expect.outcome()


def letters_that_sqs_moves(make: Make) -> Outcome:
    cloud = make(asleep=True)
    # The first comes to a queue that slept, the second beside the first.
    first, second = 10.0 * MINUTE, 5.5 * HOUR
    for time in (first, second):
        cloud.service.move(time)
    expect = Expect(cloud.run(9 * HOUR))
    expect.told_once("DeadLetterAlarm", first, second)
    expect.alarms("DeadLetterAlarm")
    return expect.outcome()


def five_letters_for_a_day(make: Make) -> Outcome:
    cloud = make(asleep=True)
    pushed = 10.0 * MINUTE
    for number in range(5):
        cloud.service.push(pushed + number, Image(20, "permanent"))
    # The queues say nothing for some minutes, and are looked at more than once.
    cloud.silences = [(20 * HOUR, 20 * HOUR + 4 * MINUTE), (24 * HOUR, 24 * HOUR + 16 * MINUTE)]
    for hour in range(3, 30, 3):
        cloud.service.look_at_letters(hour * HOUR + 77, 30 + hour * 5)
    cloud.service.look_at_letters(28 * HOUR, 13 * MINUTE)
    expect = Expect(cloud.run(32 * HOUR))
    expect.told_once("DeadLetterAlarm", pushed)
    expect.alarms("DeadLetterAlarm")
    return expect.outcome()


def an_image_that_kills_its_worker(make: Make) -> Outcome:
    cloud = make(asleep=True)
    pushed = 10.0 * MINUTE
    image = cloud.service.push(pushed, Image(30, "fatal"))
    expect = Expect(cloud.run(4 * HOUR))
    expect.that(image.letter is not None, "it has no letter")
    expect.told_within("TaskFailureAlarm", pushed, 30 * MINUTE)
    expect.told_within("DeadLetterAlarm", pushed, HOUR)
    expect.most(1)
    expect.asleep()
    return expect.outcome()


def a_lagging_metric_of_ecs(make: Make) -> Outcome:
    cloud = make(asleep=True, ecs_late=(150, 330))
    # More than one task takes at once, and less than a second is wanted for.
    for number in range(7):
        cloud.service.push(10 * MINUTE + number, Image(600))
    expect = Expect(cloud.run(4 * HOUR))
    expect.most(1)
    expect.all_done(within=35 * MINUTE)
    expect.done_once()
    expect.idles_a_quarter_of_an_hour()
    expect.asleep()
    expect.alarms()
    return expect.outcome()


def nothing_for_a_week(make: Make) -> Outcome:
    cloud = make()
    week = 7.0 * DAY
    cloud.service.push(week, Image(20))
    expect = Expect(cloud.run(week + HOUR))
    expect.all_done(within=5 * MINUTE)
    expect.most(1)
    expect.idles_a_quarter_of_an_hour()
    expect.asleep()
    expect.alarms()
    return expect.outcome()


def a_queue_of_eight_quiet_hours(make: Make) -> Outcome:
    cloud = make()
    for time in (10.0 * MINUTE, 8.5 * HOUR):
        cloud.service.push(time, Image(20))
    expect = Expect(cloud.run(10 * HOUR))
    expect.all_done(within=5 * MINUTE)
    expect.most(1)
    expect.idles_a_quarter_of_an_hour()
    expect.asleep()
    expect.alarms()
    return expect.outcome(8.5 * HOUR)


def a_deployment_while_protected(make: Make) -> Outcome:
    cloud = make(asleep=True)
    for number in range(6):
        cloud.service.push(10 * MINUTE + number, Image(40 * MINUTE))
    cloud.service.deploy(25 * MINUTE)
    expect = Expect(cloud.run(4 * HOUR))
    expect.all_done(within=105 * MINUTE)
    expect.done_once()
    expect.that(cloud.most_tasks() <= 2 * cloud.most_desired(), f"{cloud.most_tasks()} tasks ran")
    expect.idles_a_quarter_of_an_hour()
    expect.asleep()
    return expect.outcome()


def no_task_can_start(make: Make) -> Outcome:
    cloud = make()
    pushed = 8.0 * HOUR
    cloud.service.starts_from = pushed + 3 * HOUR
    # One task's share: more would be a reason for a second one.
    for number in range(8):
        cloud.service.push(pushed + number, Image(30), "backfill")
    expect = Expect(cloud.run(pushed + 5 * HOUR))
    expect.told_within("NoProgressAlarm", pushed, 95 * MINUTE)
    expect.most(1)
    expect.all_done(within=3.2 * HOUR)
    expect.asleep()
    expect.alarms("NoProgressAlarm")
    return expect.outcome()


def one_task_always(make: Make) -> Outcome:
    cloud = make(asleep=True, MinTasks="1")
    cloud.service.push(HOUR, Image(20))
    cloud.service.push(3 * HOUR, Image(20))
    expect = Expect(cloud.run(5 * HOUR))
    expect.all_done(within=2 * MINUTE)
    expect.that(len(cloud.service.started) == 1, f"{len(cloud.service.started)} tasks were started")
    expect.that(cloud.service.desired == 1, f"{cloud.service.desired} tasks are wanted at the end")
    expect.alarms()
    return expect.outcome()


def the_core_alone_an_image_that_fails(make: Make) -> Outcome:
    cloud = make(asleep=True, kind=CoreCloud)
    pushed = 10.0 * MINUTE
    image = cloud.service.push(pushed, Image(20, "transient"))
    for hour in range(5):
        cloud.service.push(15 * MINUTE + hour * HOUR, Image(30))
    expect = Expect(cloud.run(8 * HOUR))
    expect.told_within("OldestMessageAlarm", pushed, 85 * MINUTE)
    raised = len(cloud.notified().get("OldestMessageAlarm", []))
    expect.that(raised <= 1, f"OldestMessageAlarm told {raised} times of one image")
    expect.told_once("DeadLetterAlarm", image.letter or 0.0)
    expect.alarms("DeadLetterAlarm", "OldestMessageAlarm")
    return expect.outcome()


def the_core_alone_an_image_that_kills(make: Make) -> Outcome:
    cloud = make(asleep=True, kind=CoreCloud)
    pushed = 10.0 * MINUTE
    image = cloud.service.push(pushed, Image(40, "fatal"))
    expect = Expect(cloud.run(6 * HOUR))
    # SQS leaves it out from the third receive on, before it is old enough for OldestMessageAlarm.
    expect.told_within("FunctionErrorAlarm", pushed, 65 * MINUTE + HOUR)
    expect.told_once("DeadLetterAlarm", image.letter or 0.0)
    expect.alarms("DeadLetterAlarm", "FunctionErrorAlarm")
    return expect.outcome()


ALL: dict[str, Callable[[Make], Outcome]] = {
    "one image an hour": one_image_an_hour,
    "an image every four minutes": an_image_every_four_minutes,
    "an image a minute of five minutes": an_image_a_minute_of_five,
    "three images a minute of five minutes": three_images_a_minute_of_five,
    "pushes when the last task goes": pushes_when_the_last_task_goes,
    "a burst of 1,000": a_burst_of_1000,
    "a backfill of 10,000": a_backfill_of_10000,
    "a backfill into a stack that slept a week": a_backfill_into_a_stack_that_slept_a_week,
    "a backfill that tells nobody": a_backfill_that_tells_nobody,
    "the index Lambda hands over": the_index_lambda_hands_over,
    "a long image of two hours": a_long_image_of_two_hours,
    "five long images of two hours": five_long_images_of_two_hours,
    "an image that fails for a day": an_image_that_fails_for_a_day,
    "two letters five hours apart": two_letters_five_hours_apart,
    "letters that SQS moves": letters_that_sqs_moves,
    "five letters for a day": five_letters_for_a_day,
    "an image that kills its worker": an_image_that_kills_its_worker,
    "a lagging metric of ECS": a_lagging_metric_of_ecs,
    "nothing for a week, then one image": nothing_for_a_week,
    "eight quiet hours, then one image": a_queue_of_eight_quiet_hours,
    "a deployment while protected": a_deployment_while_protected,
    "no task can start": no_task_can_start,
    "one task always": one_task_always,
    "the core alone, an image that fails": the_core_alone_an_image_that_fails,
    "the core alone, an image that kills the function": the_core_alone_an_image_that_kills,
}


def makers(template, worlds: tuple[World, ...], seeds: range) -> Iterator[tuple[str, Make]]:
    """Makers of stacks, one for each world and seed, with what to call them."""
    for world in worlds:
        for seed in seeds:
            def make(asleep=False, ecs_late=None, kind=Cloud, world=world, seed=seed, **parameters: str) -> Cloud:
                late = ecs_late or world.ecs_late
                return kind(template, dataclasses.replace(world, ecs_late=late), seed, asleep, **parameters)
            yield f"{world.name}, seed {seed}", make
