"""CloudWatch at work: the alarms of a template, and the two that a policy of target tracking makes, over metrics."""

import dataclasses
from typing import Any

from alarms import ALARM, INSUFFICIENT, Rule
from metric_math import Evaluation, Readings, Series
from resolve import Stack
from series import Key, Metrics

# What target tracking makes (containers-roadmap, issues 638 and others; Application Auto Scaling user guide): three points
# of a minute above the target, and fifteen more than a tenth below it. Missing points are missing.
HIGH_POINTS, LOW_POINTS, LOW_SHARE = 3, 15, 0.9


@dataclasses.dataclass
class Source:
    """What an alarm looks at: one metric, or expressions over several."""

    result: str
    period: int
    metrics: dict[str, tuple[Key, str]]
    expressions: dict[str, str]

    @classmethod
    def of(cls, metrics: list[dict[str, Any]], period: int | None = None) -> "Source":
        plain, expressions, result = {}, {}, ""
        for metric in metrics:
            if metric.get("ReturnData", True):
                result = metric["Id"]
            if "Expression" in metric:
                expressions[metric["Id"]] = metric["Expression"]
                continue
            stat = metric["MetricStat"]
            plain[metric["Id"]] = (key_of(stat["Metric"]), stat["Stat"])
            period = period or int(stat["Period"])
            # An alarm's metrics all have one period (CloudWatch user guide, "Alarms on math expressions").
            if int(stat.get("Period", period)) != period:
                raise ValueError(f"{metric['Id']} has another period")
        # As many as an alarm takes.
        if len(plain) > 10 or not period:
            raise ValueError(f"{len(plain)} metrics, period {period}")
        return cls(result, period, plain, expressions)

    def points(self, metrics: Metrics, readings: Readings, length: int, now: float, memory: dict) -> Series:
        windows = {
            name: metrics.window(key, statistic, self.period, length, now)
            for name, (key, statistic) in self.metrics.items()
        }
        seen = tuple(map(tuple, windows.values()))
        if seen not in memory:
            memory[seen] = Evaluation(windows, self.expressions, readings, length).series(self.result)
        return memory[seen]


def key_of(metric: dict[str, Any]) -> Key:
    dimensions = {one["Name"]: str(one["Value"]) for one in metric.get("Dimensions", [])}
    return Key.of(metric["Namespace"], metric["MetricName"], **dimensions)


@dataclasses.dataclass
class Alarm:
    """An alarm and what became of it."""

    name: str
    rule: Rule
    source: Source
    actions: list[str]
    extra: int
    state: str = INSUFFICIENT
    # When it came to ALARM, and when it left it.
    raised: list[float] = dataclasses.field(default_factory=list)
    cleared: list[float] = dataclasses.field(default_factory=list)
    latest: float | None = None
    memory: dict = dataclasses.field(default_factory=dict)

    def evaluate(self, metrics: Metrics, readings: Readings, now: float) -> None:
        length = self.rule.periods + self.extra
        points = self.source.points(metrics, readings, length, now, self.memory)
        state = self.rule.state(points, self.state)
        there = [point for point in points if point is not None]
        self.latest = there[-1] if there else None
        if state == ALARM and self.state != ALARM:
            self.raised.append(now)
        if state != ALARM and self.state == ALARM:
            self.cleared.append(now)
        self.state = state


def alarms_of(stack: Stack, extra: int) -> list[Alarm]:
    """The alarms of a stack, with an evaluation range that is `extra` points longer than what is evaluated."""
    found = []
    for name, one in stack.of_type("AWS::CloudWatch::Alarm").items():
        if "Metrics" in one:
            source = Source.of(one["Metrics"])
        else:
            source = Source("only", int(one["Period"]), {"only": (key_of(one), one["Statistic"])}, {})
        periods = int(one["EvaluationPeriods"])
        rule = Rule(
            one["ComparisonOperator"], float(one["Threshold"]), periods, int(one.get("DatapointsToAlarm", periods)),
            one.get("TreatMissingData", "missing"),
        )
        found.append(Alarm(name, rule, source, one.get("AlarmActions", []), extra))
    for name, one in stack.of_type("AWS::ApplicationAutoScaling::ScalingPolicy").items():
        tracking = one.get("TargetTrackingScalingPolicyConfiguration")
        if not tracking:
            continue
        target = float(tracking["TargetValue"])
        source = Source.of(tracking["CustomizedMetricSpecification"]["Metrics"], period=60)
        high = Rule("GreaterThanThreshold", target, HIGH_POINTS, HIGH_POINTS)
        low = Rule("LessThanThreshold", target * LOW_SHARE, LOW_POINTS, LOW_POINTS)
        found.append(Alarm(f"{name}-high", high, source, [stack.reference(name)], extra))
        if not tracking.get("DisableScaleIn"):
            found.append(Alarm(f"{name}-low", low, source, [stack.reference(name)], extra))
    return found
