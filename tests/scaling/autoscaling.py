"""Application Auto Scaling: what policies make of alarms (Application Auto Scaling user guide, "Target tracking scaling
policies", "Step scaling policies").

An alarm with a scaling action asks every minute for as long as it is in ALARM. Of policies that ask at the same time the
one with the largest capacity counts. After scaling out a policy scales out again only if it wants more than that, until
its cooldown ends; scaling in is blocked in the cooldown of an earlier scaling in.
"""

import dataclasses
import math
from typing import Any

from resolve import Stack


@dataclasses.dataclass(frozen=True)
class Habits:
    """What the guide does not say for certain."""

    # Whether target tracking scales in to what the metric asks for at once, or by a task or a tenth.
    gradual: bool = False
    # Whether policies that ask in the same minute are held against each other, or each is followed as it comes.
    compares: bool = True


class Policy:
    """A policy, and when it last scaled."""

    def __init__(self, name: str, properties: dict[str, Any]):
        self.name = name
        self.tracking = properties.get("TargetTrackingScalingPolicyConfiguration")
        self.step = properties.get("StepScalingPolicyConfiguration")
        self.out_until = self.in_until = -math.inf
        # What the scaling out whose cooldown runs began from.
        self.out_from = 0
        if self.tracking:
            self.out_cooldown = float(self.tracking.get("ScaleOutCooldown", 300))
            self.in_cooldown = float(self.tracking.get("ScaleInCooldown", 300))
            self.target = float(self.tracking["TargetValue"])
        else:
            self.out_cooldown = self.in_cooldown = float(self.step.get("Cooldown", 300))

    @property
    def is_exact(self) -> bool:
        return bool(self.step) and self.step["AdjustmentType"] == "ExactCapacity"

    def wanted(self, capacity: int, metric: float, threshold: float, habits: Habits) -> int:
        if self.tracking:
            # It rounds so that it does not add too little, nor remove too much.
            least = capacity - max(1, capacity // 10) if habits.gradual else 0
            return max(math.ceil(capacity * metric / self.target), least)
        for step in self.step["StepAdjustments"]:
            low = threshold + float(step.get("MetricIntervalLowerBound", -math.inf))
            high = threshold + float(step.get("MetricIntervalUpperBound", math.inf))
            if low <= metric < high or (metric < threshold and low < metric <= high):
                return self.adjusted(capacity, int(step["ScalingAdjustment"]))
        return capacity

    def adjusted(self, capacity: int, by: int) -> int:
        kind = self.step["AdjustmentType"]
        if kind == "ExactCapacity":
            return by
        if kind == "ChangeInCapacity":
            return capacity + by
        change = capacity * by / 100
        change = math.copysign(max(1, math.floor(abs(change))), change) if change else 0
        least = int(self.step.get("MinAdjustmentMagnitude", 0))
        return capacity + int(math.copysign(max(abs(change), least), by))


@dataclasses.dataclass(frozen=True)
class Request:
    """An alarm that asks."""

    policy: str
    metric: float
    threshold: float


class ScalableTarget:
    """The desired count of the service."""

    def __init__(self, stack: Stack, habits: Habits):
        (target,) = stack.of_type("AWS::ApplicationAutoScaling::ScalableTarget").values()
        self.least, self.most = int(target["MinCapacity"]), int(target["MaxCapacity"])
        policies = stack.of_type("AWS::ApplicationAutoScaling::ScalingPolicy")
        self.policies = {stack.reference(name): Policy(name, one) for name, one in policies.items()}
        self.habits = habits
        # Time, what it was before, what it became, and whose doing it was.
        self.activities: list[tuple[float, int, int, str]] = []

    def ask(self, requests: list[Request], capacity: int, now: float) -> int:
        """The capacity after what all of `requests` ask for in one minute."""
        if not self.habits.compares:
            for request in requests:
                capacity = self.follow([request], capacity, now)
            return capacity
        return self.follow(requests, capacity, now)

    def follow(self, requests: list[Request], capacity: int, now: float) -> int:
        wishes = [(self.wish(request, capacity, now), request) for request in requests]
        if not wishes:
            return capacity
        wanted, request = max(wishes, key=lambda wish: wish[0])
        policy = self.policies[request.policy]
        if wanted > capacity:
            if now >= policy.out_until:
                policy.out_from = capacity
            policy.out_until = now + policy.out_cooldown
            # Scaling out ends the wait of those that scaled in.
            for one in self.policies.values():
                one.in_until = -math.inf
        elif wanted < capacity:
            policy.in_until = now + policy.in_cooldown
        if wanted != capacity:
            self.activities.append((now, capacity, wanted, policy.name))
        return wanted

    def wish(self, request: Request, capacity: int, now: float) -> int:
        policy = self.policies[request.policy]
        cooling = now < policy.out_until
        # What was added in the cooldown is part of what is wanted now.
        wanted = policy.wanted(
            policy.out_from if cooling else capacity, request.metric, request.threshold, self.habits
        )
        wanted = min(max(wanted, self.least), self.most)
        if wanted < capacity:
            blocked = any(now < one.in_until for one in self.policies.values())
            if blocked or (cooling and not policy.is_exact):
                return capacity
        return wanted
