"""Metric math as CloudWatch documents it (CloudWatch user guide, "Using math expressions with CloudWatch metrics").

A series is a list with a value, or None where there is no point, for each period of a window, the oldest first. Of two
series in an operation one may lack a point: the guide counts it as 0. So an operation has a point where one of its
series has one. `IF` has none where its condition has none, and none where it takes a branch without a point, but for a
true branch, which counts as 0.

Where the guide leaves room, `Readings` says how it is taken, and the scenarios run with each.
"""

import dataclasses
import functools
import operator
import re
from collections.abc import Callable

Series = list[float | None]
Value = float | Series | list[Series]


@dataclasses.dataclass(frozen=True)
class Readings:
    """What the guide does not say for certain."""

    # Whether FILL also fills a series that has no point at all in the window.
    fills_empty: bool = True
    # Whether an operation of two series has a point where only one of them has.
    missing_is_zero: bool = True


TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<text>\"[^\"]*\"|'[^']*')"
    r"|(?P<sign>==|!=|<=|>=|&&|\|\||[-+*/^<>()\[\],]))"
)
COMPARISONS = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt
}
AND, OR = ("AND", "&&"), ("OR", "||")
ARRAY_FUNCTIONS: dict[str, Callable[[list[float]], float]] = {
    "SUM": sum, "MAX": max, "MIN": min, "AVG": lambda values: sum(values) / len(values)
}
POINT_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "ABS": abs, "CEIL": lambda x: float(-int(-x // 1)), "FLOOR": lambda x: float(int(x // 1))
}


class MathError(Exception):
    """An expression that CloudWatch would not take, or that is not known here."""


@functools.cache
def parse(expression: str) -> tuple:
    """The tree of an expression: tuples that begin with what they are."""
    return Parser(expression).whole()


class Parser:
    """Reads an expression from left to right; each method reads what binds tighter than the one above it."""

    def __init__(self, expression: str):
        self.tokens: list[str] = []
        at = 0
        while at < len(expression.rstrip()):
            found = TOKEN.match(expression, at)
            if not found:
                raise MathError(f"{expression!r}: what is {expression[at:]!r}?")
            self.tokens.append(found.group().strip())
            at = found.end()
        self.expression, self.at = expression, 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, wanted: str | None = None) -> str:
        token = self.peek()
        if not token or wanted not in (None, token):
            raise MathError(f"{self.expression!r}: {wanted or 'more'} is expected instead of {token!r}")
        self.at += 1
        return token

    def whole(self) -> tuple:
        tree = self.either()
        if self.peek():
            raise MathError(f"{self.expression!r}: {self.peek()!r} is too much")
        return tree

    def chain(self, below: Callable[[], tuple], signs) -> tuple:
        tree = below()
        while self.peek() in signs:
            tree = ("operation", self.take(), tree, below())
        return tree

    def either(self) -> tuple:
        return self.chain(self.both, OR)

    def both(self) -> tuple:
        return self.chain(self.comparison, AND)

    def comparison(self) -> tuple:
        return self.chain(self.sums, COMPARISONS)

    def sums(self) -> tuple:
        return self.chain(self.products, ("+", "-"))

    def products(self) -> tuple:
        return self.chain(self.powers, ("*", "/"))

    def powers(self) -> tuple:
        return self.chain(self.single, ("^",))

    def listed(self, end: str) -> list[tuple]:
        items: list[tuple] = []
        while self.peek() != end:
            items.append(self.either())
            if self.peek() != end:
                self.take(",")
        self.take(end)
        return items

    def single(self) -> tuple:
        token = self.take()
        if token == "-":
            return ("operation", "*", ("number", -1.0), self.single())
        if token == "(":
            tree = self.either()
            self.take(")")
            return tree
        if token == "[":
            return ("array", self.listed("]"))
        if token[0] in "\"'":
            return ("text", token[1:-1])
        if token[0].isdigit():
            return ("number", float(token))
        if self.peek() == "(":
            self.take()
            return ("call", token, self.listed(")"))
        return ("name", token)


class Evaluation:
    """Evaluates the expressions of one list of metrics over one window."""

    def __init__(self, metrics: dict[str, Series], expressions: dict[str, str], readings: Readings, length: int):
        self.metrics, self.expressions, self.readings, self.length = metrics, expressions, readings, length
        self.done: dict[str, Value] = {}

    def series(self, name: str) -> Series:
        """The series that `name` stands for, which an alarm needs."""
        value = self.named(name)
        if not is_series(value):
            raise MathError(f"{name} is no single series")
        return value

    def named(self, name: str) -> Value:
        if name in self.metrics:
            return self.metrics[name]
        if name not in self.expressions:
            raise MathError(f"there is no {name}")
        if name not in self.done:
            self.done[name] = self.value(parse(self.expressions[name]))
        return self.done[name]

    def value(self, tree: tuple) -> Value:
        kind, *rest = tree
        if kind == "number":
            return rest[0]
        if kind == "name":
            return self.named(rest[0])
        if kind == "array":
            return self.array(rest[0])
        if kind == "call":
            return self.call(*rest)
        if kind == "operation":
            return self.operation(rest[0], self.value(rest[1]), self.value(rest[2]))
        raise MathError(f"{kind} makes no value")

    def array(self, trees: list[tuple]) -> list[Series]:
        found: list[Series] = []
        for value in map(self.value, trees):
            if isinstance(value, float):
                raise MathError("an array holds series, not numbers")
            found.extend([value] if is_series(value) else value)
        return found

    def operation(self, sign: str, left: Value, right: Value) -> Value:
        if is_array(left) or is_array(right):
            arrays = [side for side in (left, right) if is_array(side)]
            rows = range(len(arrays[0]))
            pick = lambda side, row: side[row] if is_array(side) else side
            return [self.operation(sign, pick(left, row), pick(right, row)) for row in rows]
        if isinstance(left, float) and isinstance(right, float):
            result = apply(sign, left, right)
            if result is None:
                raise MathError("a number is divided by 0")
            return result
        points: Series = []
        for at in range(self.length):
            sides = [side if isinstance(side, float) else side[at] for side in (left, right)]
            series = [point for side, point in zip((left, right), sides) if not isinstance(side, float)]
            there = [point is not None for point in series]
            if not any(there) or not (all(there) or self.readings.missing_is_zero):
                points.append(None)
            else:
                points.append(apply(sign, *(0.0 if side is None else side for side in sides)))
        return points

    def call(self, name: str, trees: list[tuple]) -> Value:
        if name == "METRICS":
            wanted = trees[0][1] if trees else ""
            return [series for metric, series in self.metrics.items() if wanted in metric]
        if name == "IF":
            return self.choice(*map(self.value, trees))
        if name == "FILL":
            by = trees[1]
            fill = by[1] if by[0] == "name" and by[1] == "REPEAT" else self.value(by)
            value = self.value(trees[0])
            return [self.fill(series, fill) for series in value] if is_array(value) else self.fill(value, fill)
        if name == "DIFF":
            return difference(self.value(trees[0]))
        if name == "TIME_SERIES":
            return [self.value(trees[0])] * self.length
        value = self.value(trees[0])
        if name in POINT_FUNCTIONS and is_series(value):
            return [None if point is None else POINT_FUNCTIONS[name](point) for point in value]
        if name in ARRAY_FUNCTIONS and is_array(value):
            columns = ([point for point in column if point is not None] for column in zip(*value))
            return [float(ARRAY_FUNCTIONS[name](column)) if column else None for column in columns]
        # Of one series they make a number of all points that are there, and an alarm asks for more than it says: the
        # guide advises against it.
        raise MathError(f"{name} of {'one series' if is_series(value) else value} is not for alarms")

    def choice(self, condition: Value, then: Value, otherwise: Value | None = None) -> Series:
        points: Series = []
        for at in range(self.length):
            test = condition if isinstance(condition, float) else condition[at]
            branch = then if test else otherwise
            point = branch if branch is None or isinstance(branch, float) else branch[at]
            if test is None:
                point = None
            elif test and point is None:
                point = 0.0
            points.append(point)
        return points

    def fill(self, series: Series, by: str | Value) -> Series:
        if all(point is None for point in series) and not self.readings.fills_empty:
            return series
        filled: Series = []
        for at, point in enumerate(series):
            if point is None and by == "REPEAT":
                point = filled[-1] if filled else None
            elif point is None:
                point = by if isinstance(by, float) else by[at]
            filled.append(point)
        return filled


def is_array(value: Value) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)


def is_series(value: Value) -> bool:
    return isinstance(value, list) and not is_array(value)


def apply(sign: str, left: float, right: float) -> float | None:
    """One point of an operation; a division by 0 has none."""
    if sign in COMPARISONS:
        return float(COMPARISONS[sign](left, right))
    if sign in AND or sign in OR:
        return float(bool(left and right) if sign in AND else bool(left or right))
    if sign == "/":
        return left / right if right else None
    return {"+": operator.add, "-": operator.sub, "*": operator.mul, "^": operator.pow}[sign](left, right)


def difference(series: Series) -> Series:
    """The difference between each point and the one before it that is there."""
    points: Series = []
    before: float | None = None
    for point in series:
        points.append(None if point is None or before is None else point - before)
        before = before if point is None else point
    return points
