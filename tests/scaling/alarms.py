"""How an alarm comes to its state (CloudWatch user guide, "Alarm evaluation" and "Configuring how CloudWatch alarms treat
missing data").

An alarm asks for more points than it evaluates: its evaluation range. If enough of these are there, the latest of them
count, and how missing ones are treated does not matter. Otherwise all that are there count, and as many missing ones as
are needed are treated as the alarm says.
"""

import dataclasses

from metric_math import Series

OK, ALARM, INSUFFICIENT = "OK", "ALARM", "INSUFFICIENT_DATA"


@dataclasses.dataclass(frozen=True)
class Rule:
    """When an alarm is in ALARM."""

    comparison: str
    threshold: float
    periods: int
    datapoints: int
    missing: str = "missing"

    def breaches(self, point: float) -> bool:
        return {
            "GreaterThanOrEqualToThreshold": point >= self.threshold,
            "GreaterThanThreshold": point > self.threshold,
            "LessThanThreshold": point < self.threshold,
            "LessThanOrEqualToThreshold": point <= self.threshold,
        }[self.comparison]

    def state(self, points: Series, before: str = INSUFFICIENT) -> str:
        """The state after the evaluation of `points`, which is the whole range, the oldest first."""
        there = [self.breaches(point) for point in points if point is not None]
        if len(there) >= self.periods:
            return self.judge(there[-self.periods:])
        lacking = self.periods - len(there)
        if self.missing in ("breaching", "notBreaching"):
            return self.judge(there + [self.missing == "breaching"] * lacking)
        if there and not all(there):
            return self.judge(there)
        # Only breaching points are there, or none. The table of the guide: the oldest point of the range decides.
        if self.missing == "ignore":
            return before
        return ALARM if there and points[0] is not None else INSUFFICIENT

    def judge(self, breaching: list[bool]) -> str:
        return ALARM if sum(breaching) >= self.datapoints else OK
