"""The cases of `tests/aws/run ruler`: ruler.py JAVA CLASSPATH [--scores]

EventBridge refuses a rule that is too complex, and tells that when the stack is made, which is rolled back then. How
complex a pattern is says the matcher that it is built on, and field reports have the limit near ten. So every pattern of
the template is compiled with all kinds of values of its parameters, and has to stay well below; and sample events show
which of them it lets through.

--scores only prints how complex the rule for pushes is with each list of filters.
"""

import itertools
import json
import subprocess
import sys
from typing import Any

import events
import resolve
import samples
from cases import Failed, none, run

JAVA, CLASSPATH = sys.argv[1:3]
# Half of what is refused.
MAX_SCORE = 5
# EventBridge's quota for a pattern: 2,048 characters, which can be raised.
MAX_PATTERN = 2048

TEMPLATE = resolve.load()
SIX = ["prod", "stage", "dev", "test", "qa", "lab"]
TEN = SIX + ["eu", "us", "ap", "sa"]
# All kinds of filters: those that a rule could not take when it named repositories are among them.
FILTERS = {
    "everything": ["*:*"],
    "one name": ["prod/app:latest"],
    "ten names": [f"{name}/app:1" for name in TEN],
    "one prefix": ["prod*:v*"],
    "ten prefixes": [f"{name}*:*" for name in TEN],
    "two suffixes": ["*-prod:*", "*-stage:*"],
    "six suffixes": [f"*-{name}:*" for name in SIX],
    "ten suffixes": [f"*-{name}:*" for name in TEN],
    "four in the midst": [f"*{name}*:*" for name in SIX[:4]],
    "ten in the midst": [f"*{name}*:*" for name in TEN],
    "ten of a team": [f"team{n}/*-{name}:*" for n, name in enumerate(TEN)],
    "many asterisks": ["*a*b*c*d*e*f*g*:*a*b*c*"],
    "asterisks and repetition": ["*aaaa*aaaa*aaaa*:*", "*aaa*aaa*:*"],
    "suffixes of tags": [f"prod:*-{name}" for name in TEN],
    "twenty": [f"*{name}-{n}*:*{n}*" for name in TEN for n in range(2)],
    "blanks": ["prod*:*", " stage*:*"],
}
SUFFIXES = ["-soci", "", "-", ".", "soci", "_a.b-c", "a" * 64, "-soci-" * 10]
EVENT_TYPES = [
    ",".join(types) for count in (1, 2, 3) for types in itertools.combinations(events.ECR_TYPES, count)
]


def ask(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the matcher says to each pattern and its events."""
    text = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run([JAVA, "-cp", CLASSPATH, "Ruler"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def expect(asked: list[tuple[str, dict[str, Any], samples.Samples]]) -> None:
    """Fails unless each pattern lets through of its samples those that it should."""
    answers = ask([
        {"pattern": pattern, "events": [sample for sample, _ in tried.values()]} for _, pattern, tried in asked
    ])
    wrong = []
    for (what, _, tried), answer in zip(asked, answers, strict=True):
        if "error" in answer:
            wrong.append(f"{what}: {answer['error']}")
            continue
        for (name, (_, expected)), found in zip(tried.items(), answer["matches"], strict=True):
            if found != expected:
                wrong.append(f"{what}: {name}: {'goes through' if found else 'does not go through'}")
    none(wrong)


def accepted(parameter: str, value: str) -> bool:
    """Whether the template takes this value of a parameter."""
    return resolve.accepted(TEMPLATE, parameter, value)


def patterns(stack: resolve.Stack) -> dict[str, dict[str, Any]]:
    """Every event pattern of the stack, by the name of its resource."""
    return stack.property("EventPattern")


def variants() -> dict[str, resolve.Stack]:
    """Stacks with all kinds of parameters that patterns are made of."""
    found = {}
    for (kind, filters), types, version, suffix in itertools.product(
        FILTERS.items(), EVENT_TYPES, ("V1", "V2"), SUFFIXES
    ):
        # Each filter with each type of event and version, and each suffix with some of the filters.
        if suffix != "-soci" and kind not in ("everything", "ten suffixes"):
            continue
        given = {
            "SociRepositoryImageTagFilters": ",".join(filters), "EventTypes": types, "SociIndexVersion": version,
            "OutputTagSuffix": suffix, "BackfillArchiveDays": "7",
        }
        if all(accepted(name, value) for name, value in given.items()):
            found[f"{kind}, {types}, {version}, suffix {suffix!r}"] = resolve.Stack(TEMPLATE, given)
    return found


def patterns_are_simple() -> None:
    """No pattern is near what EventBridge refuses."""
    questions = {}
    for variant, stack in variants().items():
        for name, pattern in patterns(stack).items():
            questions.setdefault(json.dumps(pattern), (f"{name} with {variant}", pattern))
    answers = ask([{"pattern": pattern, "events": []} for _, pattern in questions.values()])
    wrong = []
    for (text, (what, _)), answer in zip(questions.items(), answers, strict=True):
        if "error" in answer:
            wrong.append(f"{what}: {answer['error']}")
        elif answer["score"] > MAX_SCORE:
            wrong.append(f"{what}: complexity {answer['score']}")
        if len(text) > MAX_PATTERN:
            wrong.append(f"{what}: {len(text)} characters")
    none(wrong)
    highest = max(answer["score"] for answer in answers)
    longest = max(map(len, questions))
    print(f"    {len(questions)} patterns: complexity at most {highest}, {longest} characters at most")


def the_matcher_finds_complex_patterns() -> None:
    """What a rule would be that names repositories, as with six filters such as `*-prod:*`."""
    names = ["six suffixes", "ten in the midst"]
    questions = [
        {"pattern": {"detail": {"repository-name": [
            {"wildcard": filter_.split(":")[0]} for filter_ in FILTERS[kind]]}}, "events": []}
        for kind in names
    ]
    scores = [answer["score"] for answer in ask(questions)]
    none(f"{kind}: complexity {score}" for kind, score in zip(names, scores, strict=True) if score <= 2 * MAX_SCORE)


def every_kind_of_filter_is_taken() -> None:
    """What the programs read is not refused by the parameter."""
    none(
        f"{kind} is refused: {','.join(filters)}"
        for kind, filters in FILTERS.items()
        if not accepted("SociRepositoryImageTagFilters", ",".join(filters))
    )


def stack_with(types: str, version: str, suffix: str, partition: str = "aws") -> resolve.Stack:
    """A stack with all rules and the archive."""
    return resolve.Stack(TEMPLATE, {
        "EventTypes": types, "SociIndexVersion": version, "OutputTagSuffix": suffix, "BackfillArchiveDays": "7",
        "SociRepositoryImageTagFilters": "prod*:*",
    }, partition)


def pushes_go_through_and_little_else() -> None:
    """The rule lets images through that have come, and neither results nor what concerns others."""
    asked = []
    for types, version, suffix, partition in itertools.product(
        EVENT_TYPES, ("V1", "V2"), ("-soci", ""), resolve.PARTITIONS
    ):
        stack = stack_with(types, version, suffix, partition)
        what = f"{partition}, {types}, {version}, {suffix!r}"
        asked.append((what, patterns(stack)["PushRule"], samples.of_pushes(stack)))
    expect(asked)


def the_archive_keeps_what_the_rule_lets_through() -> None:
    """The archive is wider than the rule, and has nothing of others."""
    questions, names = [], []
    for types in EVENT_TYPES:
        stack = stack_with(types, "V2", "-soci")
        found, tried = patterns(stack), samples.of_pushes(stack)
        asked = [event for event, _ in tried.values()]
        questions += [{"pattern": found[name], "events": asked} for name in ("PushRule", "PushArchive")]
        names.append(list(tried))
    answers = ask(questions)
    never = events.others(resolve.ACCOUNT, stack.region)
    wrong = []
    for types, sampled, rule, archive in zip(EVENT_TYPES, names, answers[::2], answers[1::2], strict=True):
        for name, through, kept in zip(sampled, rule["matches"], archive["matches"], strict=True):
            if through and not kept:
                wrong.append(f"{types}: {name} goes through the rule and is not kept")
            # What failed may be kept as well.
            if kept and (name in never or "another" in name):
                wrong.append(f"{types}: {name} is kept")
    none(wrong)


def the_rule_for_tasks_tells_of_failures_only() -> None:
    """Tasks that died or did not start, of this cluster's service."""
    stack = stack_with(events.PUSH, "V2", "-soci")
    expect([("TaskFailureRule", patterns(stack)["TaskFailureRule"], samples.of_tasks(stack))])


def print_scores() -> None:
    """How complex the rule is with each list of filters, also where the parameter refuses them."""
    questions, rows = [], []
    for kind, filters in FILTERS.items():
        text = ",".join(filters)
        stack = resolve.Stack(TEMPLATE, {"SociRepositoryImageTagFilters": text})
        questions.append({"pattern": patterns(stack)["PushRule"], "events": []})
        rows.append(f"{kind}\t{'taken' if accepted('SociRepositoryImageTagFilters', text) else 'refused'}")
    for row, answer in zip(rows, ask(questions), strict=True):
        print(f"{row}\t{answer.get('score', answer.get('error'))}")


if __name__ == "__main__":
    if "--scores" in sys.argv[3:]:
        print_scores()
        sys.exit()
    run([
        ("ruler: the template takes every kind of filter", every_kind_of_filter_is_taken),
        ("ruler: the matcher finds patterns that are too complex", the_matcher_finds_complex_patterns),
        ("ruler: no pattern is near what EventBridge refuses", patterns_are_simple),
        ("ruler: pushes go through, and little else", pushes_go_through_and_little_else),
        ("ruler: the archive keeps what the rule lets through", the_archive_keeps_what_the_rule_lets_through),
        ("ruler: the rule for tasks tells of failures only", the_rule_for_tasks_tells_of_failures_only),
    ])
