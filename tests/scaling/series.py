"""Metrics as CloudWatch stores them: samples that belong to a minute and arrive later."""

import collections
import dataclasses

from metric_math import Series

MINUTE = 60
# Nothing arrives later than this.
LATEST = 20 * MINUTE


@dataclasses.dataclass(frozen=True)
class Key:
    """What tells a metric from others."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, namespace: str, name: str, **dimensions: str) -> "Key":
        return cls(namespace, name, frozenset(dimensions.items()))


@dataclasses.dataclass(frozen=True)
class Sample:
    """A value that was measured `count` times."""

    arrives: float
    value: float
    count: int


class Track:
    """The samples of one metric, by minutes, and what no sample changes any more."""

    def __init__(self) -> None:
        self.minutes: dict[int, list[Sample]] = {}
        self.latest = -1
        self.settled: dict[tuple[str, int], dict[int, float | None]] = collections.defaultdict(dict)

    def window(self, statistic: str, period: int, length: int, now: float) -> Series:
        end = int(now // period) * period
        begin = end - length * period
        if self.latest < begin // MINUTE:
            return [None] * length
        settled = self.settled[statistic, period]
        points: Series = []
        for start in range(begin, end, period):
            if start in settled:
                points.append(settled[start])
                continue
            samples = [
                sample
                for minute in range(start // MINUTE, (start + period) // MINUTE)
                for sample in self.minutes.get(minute, ())
                if sample.arrives <= now
            ]
            points.append(summary(statistic, samples) if samples else None)
            if now > start + period + LATEST:
                settled[start] = points[-1]
        return points


class Metrics:
    """All samples. Times are seconds."""

    def __init__(self) -> None:
        self.tracks: dict[Key, Track] = collections.defaultdict(Track)

    def put(self, key: Key, at: float, value: float, late: float, count: int = 1) -> None:
        """Adds what was measured at `at` and can be read `late` seconds after that."""
        track, minute = self.tracks[key], int(at // MINUTE)
        track.minutes.setdefault(minute, []).append(Sample(at + late, float(value), count))
        track.latest = max(track.latest, minute)

    def window(self, key: Key, statistic: str, period: int, length: int, now: float) -> Series:
        """The last `length` whole periods, the oldest first."""
        return self.tracks[key].window(statistic, period, length, now)


def summary(statistic: str, samples: list[Sample]) -> float:
    if statistic == "Maximum":
        return max(sample.value for sample in samples)
    if statistic == "Minimum":
        return min(sample.value for sample in samples)
    if statistic == "SampleCount":
        return float(sum(sample.count for sample in samples))
    total = sum(sample.value * sample.count for sample in samples)
    return total if statistic == "Sum" else total / sum(sample.count for sample in samples)
