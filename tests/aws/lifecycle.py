"""The cases of `tests/aws/run lifecycle`: what docs/QUESTIONS.md's lifecycle policy deletes.

ECR evaluates a policy by itself, once a day or so, and nobody sees it until something is gone. `expired` is that
evaluation as ECR's user guide describes it ("Lifecycle policy evaluation rules", with its own example as a case here):

- each rule looks at all images that have what it asks of tags, also at those that other rules have marked or hold;
- beyond a count of the newest, or beyond an age since the push, it marks them, the oldest first;
- what a rule of a higher priority (a lower number) looks at, a lower one cannot expire;
- what an image index names cannot go before the index;
- what refers to an image (`subject`, as SOCI indexes V1 do) goes with it; having no tag, it may go before by a rule for
  untagged images, as users of V1 tell (awslabs/soci-snapshotter#1183).

The stories push a hundred images into a repository, with and without tags that move, and evaluate daily.
"""

import fnmatch
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cases import Failed, run

ROOT = Path(__file__).resolve().parents[2]
HOUR, DAY = 3_600, 86_400
PUSHES = 100
Policy = dict[str, Any]


@dataclass
class Manifest:
    """An image to ECR: a manifest or an index of some, with or without tags."""

    digest: str
    pushed: int
    tags: set[str] = field(default_factory=set)
    parts: tuple[str, ...] = ()
    subject: str = ""


@dataclass
class Repository:
    manifests: dict[str, Manifest] = field(default_factory=dict)

    def push(self, digest: str, now: int, tag: str = "", parts: tuple[str, ...] = (), subject: str = "") -> None:
        """A tag that another manifest has moves."""
        for other in self.manifests.values():
            other.tags.discard(tag)
        self.manifests[digest] = Manifest(digest, now, {tag} - {""}, parts, subject)

    def push_image(self, name: str, now: int, tag: str, platforms: int) -> None:
        """One manifest, or as many as there are platforms and an index."""
        if platforms == 1:
            self.push(name, now, tag)
            return
        parts = tuple(f"{name}/{number}" for number in range(platforms))
        for part in parts:
            self.push(part, now)
        self.push(name, now, tag, parts)

    def push_result(self, name: str, now: int, tag: str, platforms: int) -> None:
        """V2: an index of a converted manifest and a SOCI index for each platform."""
        parts = tuple(f"{name}-soci/{kind}{number}" for kind in ("image", "index") for number in range(platforms))
        for part in parts:
            self.push(part, now)
        self.push(f"{name}-soci", now, f"{tag}-soci", parts)

    def push_indexes(self, name: str, now: int, platforms: int) -> None:
        """V1: a SOCI index for each platform, which refers to the manifest of that."""
        for number in range(platforms):
            subject = name if platforms == 1 else f"{name}/{number}"
            self.push(f"{name}/index{number}", now, subject=subject)

    def evaluate(self, policy: Policy, now: int) -> None:
        for digest in expired(policy, list(self.manifests.values()), now):
            del self.manifests[digest]
        for one in list(self.manifests.values()):
            if one.subject and one.subject not in self.manifests:
                del self.manifests[one.digest]

    def whole(self, digest: str) -> bool:
        """Whether it is there with all that it names."""
        found = self.manifests.get(digest)
        return found is not None and all(part in self.manifests for part in found.parts)


def matches(selection: dict[str, Any], tags: set[str]) -> bool:
    """All patterns of a rule are among the tags of an image it looks at."""
    if selection["tagStatus"] != "tagged":
        return selection["tagStatus"] == "any" or not tags
    patterns = selection.get("tagPatternList") or [f"{prefix}*" for prefix in selection["tagPrefixList"]]
    return all(any(fnmatch.fnmatchcase(tag, pattern) for tag in tags) for pattern in patterns)


def expired(policy: Policy, manifests: list[Manifest], now: int) -> set[str]:
    """The digests that an evaluation deletes."""
    named = {part for one in manifests for part in one.parts}
    seen: set[str] = set()
    marked: set[str] = set()
    for rule in sorted(policy["rules"], key=lambda rule: rule["rulePriority"]):
        selection = rule["selection"]
        found = [one for one in manifests if matches(selection, one.tags)]
        number = selection["countNumber"]
        if selection["countType"] == "imageCountMoreThan":
            beyond = sorted(found, key=lambda one: one.pushed, reverse=True)[number:]
        else:
            beyond = [one for one in found if one.pushed < now - number * DAY]
        marked |= {one.digest for one in beyond} - seen - named
        seen |= {one.digest for one in found}
    return marked


def documented() -> Policy:
    """The policy to copy, and nothing that somebody would type over."""
    text = (ROOT / "docs/QUESTIONS.md").read_text(encoding="utf-8").split("## A lifecycle policy to copy\n")[1]
    block = re.search(r"```json\n(.*?)```", text.split("\n## ")[0], re.S)
    if not block:
        raise Failed("docs/QUESTIONS.md has no lifecycle policy")
    return json.loads(block[1])


def kept(policy: Policy) -> int:
    """How many tags it keeps."""
    [number] = [rule["selection"]["countNumber"] for rule in policy["rules"] if rule["selection"]["tagStatus"] == "tagged"]
    return number


def without_untagged(policy: Policy) -> Policy:
    return {"rules": [rule for rule in policy["rules"] if rule["selection"]["tagStatus"] != "untagged"]}


def expect(right: bool, what: str) -> None:
    if not right:
        raise Failed(what)


def as_the_user_guide_has_it() -> None:
    """Its example of two rules that overlap ("Filtering on multiple rules"), both ways round."""
    def rule(priority: int, prefix: str) -> dict[str, Any]:
        return {"rulePriority": priority, "selection": {
            "tagStatus": "tagged", "tagPrefixList": [prefix], "countType": "imageCountMoreThan", "countNumber": 1}}

    images = [Manifest("a", 0, {"beta-1", "prod-1"}), Manifest("b", DAY, {"beta-2", "prod-2"}), Manifest("c", 2 * DAY, {"beta-3"})]
    for first, second, gone in (("prod", "beta", {"a"}), ("beta", "prod", {"a", "b"})):
        found = expired({"rules": [rule(1, first), rule(2, second)]}, images, 10 * DAY)
        expect(found == gone, f"{first} before {second}: {found}")


def story(policy: Policy, platforms: int, tags_move: bool, version: str = "V2") -> tuple[Repository, int]:
    """Four pushes a day, each with its index a minute later, and an evaluation each day. What the newest images have is looked
    at each time."""
    repository, now = Repository(), 0
    for number in range(PUSHES):
        now = number * 6 * HOUR
        tag = "latest" if tags_move else f"v{number}"
        repository.push_image(f"v{number}", now, tag, platforms)
        if version == "V2":
            repository.push_result(f"v{number}", now + 60, tag, platforms)
        else:
            repository.push_indexes(f"v{number}", now + 60, platforms)
        if number % 4 == 3:
            repository.evaluate(policy, now + HOUR)
    return repository, now + HOUR


def pairs(repository: Repository) -> tuple[list[int], list[int]]:
    """The numbers of the images, and of the results, that are whole."""
    numbers = range(PUSHES)
    return ([number for number in numbers if repository.whole(f"v{number}")],
            [number for number in numbers if repository.whole(f"v{number}-soci")])


def images_and_results_stay_together(platforms: int) -> None:
    """As many as the document says, the newest ones, each with its result and all that both name."""
    policy = documented()
    repository, _ = story(policy, platforms, tags_move=False)
    newest = list(range(PUSHES - kept(policy) // 2, PUSHES))
    images, results = pairs(repository)
    expect(images == newest, f"images: {images}")
    expect(results == newest, f"results: {results}")
    each = (1 if platforms == 1 else platforms + 1) + 2 * platforms + 1
    # Manifests that only an index named go by the rule for untagged ones, once the index has gone.
    expect(len(repository.manifests) <= each * len(newest) + 2 * platforms * PUSHES, f"{len(repository.manifests)} manifests stay")
    for _ in range(3):
        repository.evaluate(policy, PUSHES * 6 * HOUR + 15 * DAY)
    expect(len(repository.manifests) == each * len(newest), f"{len(repository.manifests)} manifests stay in the end")


def tags_that_move_leave_nothing_for_ever(platforms: int) -> None:
    """What `latest` was goes after the days of the rule, with its result and not before."""
    policy = documented()
    repository, now = story(policy, platforms, tags_move=True)
    [days] = [rule["selection"]["countNumber"] for rule in policy["rules"] if rule["selection"]["tagStatus"] == "untagged"]
    images, results = pairs(repository)
    young = [number for number in range(PUSHES) if number * 6 * HOUR >= now - days * DAY]
    old = [number for number in range(PUSHES) if number * 6 * HOUR < now - (days + 1) * DAY]
    expect(set(young) <= set(images) and set(young) <= set(results), f"{young} are not all there: {images} {results}")
    expect(not set(old) & set(images) and not set(old) & set(results), f"{old} are there: {images} {results}")
    expect(images == results, f"{images} are not {results}")


def images_without_a_result_cost_nobody_theirs() -> None:
    """Every third image has no layer to index: at the edge at most one is apart from its result."""
    policy, repository = documented(), Repository()
    for number in range(PUSHES):
        now = number * 6 * HOUR
        repository.push_image(f"v{number}", now, f"v{number}", 2)
        if number % 3:
            repository.push_result(f"v{number}", now + 60, f"v{number}", 2)
        repository.evaluate(policy, now + HOUR)
        images, results = pairs(repository)
        expected = {one for one in images if one % 3}
        expect(len(expected ^ set(results)) <= 1, f"{images} {results}")
        expect(number < 30 or len(images) >= kept(policy) // 2, f"only {images} are left")


def a_backfill_by_count_and_by_age() -> None:
    """By count the results of old images push these out, as the document says; by age nothing goes."""
    counted = documented()
    aged = json.loads(json.dumps(counted))
    for rule in aged["rules"]:
        if rule["selection"]["tagStatus"] == "tagged":
            rule["selection"] |= {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": 90}
    for policy, stay in ((counted, 0), (aged, kept(counted))):
        repository = Repository()
        for number in range(kept(counted)):
            repository.push_image(f"v{number}", number * HOUR, f"v{number}", 2)
        for number in range(kept(counted)):
            repository.push_result(f"v{number}", 30 * DAY + number * 60, f"v{number}", 2)
        repository.evaluate(policy, 31 * DAY)
        images, results = pairs(repository)
        expect((len(images), len(results)) == (stay, kept(counted)), f"{len(images)} images, {len(results)} results")


def v1_without_the_rule_for_untagged_ones(platforms: int) -> None:
    """An index V1 has no tag. It stays as long as its image and goes with it; by the whole policy it would go after two weeks."""
    policy = without_untagged(documented())
    repository, now = story(policy, platforms, tags_move=False, version="V1")
    newest = list(range(PUSHES - kept(policy), PUSHES))
    images, _ = pairs(repository)
    expect(images == newest, f"images: {images}")
    # Of images of several platforms, what the index named stays behind, with its own index.
    lost = [number for number in images for part in range(platforms) if f"v{number}/index{part}" not in repository.manifests]
    expect(not lost, f"{lost} have lost their indexes")
    orphans = [one.digest for one in repository.manifests.values() if one.subject and one.subject not in repository.manifests]
    expect(not orphans, f"{orphans} refer to nothing")
    repository, now = story(documented(), platforms, tags_move=False, version="V1")
    lost = [number for number in pairs(repository)[0] for part in range(platforms) if f"v{number}/index{part}" not in repository.manifests]
    expect(bool(lost), "the document says that the rule for untagged images deletes them")


def a_count_of_all_manifests_is_found_out() -> None:
    """The rule that suggests itself, `any` with a number, counts what no tag names as well, and originals go while results stay."""
    policy: Policy = {"rules": [
        {"rulePriority": 1, "selection": {"tagStatus": "tagged", "tagPatternList": ["*-soci"], "countType": "imageCountMoreThan", "countNumber": 30}},
        {"rulePriority": 2, "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14}},
        {"rulePriority": 3, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 60}},
    ]}
    for platforms, left in ((1, 15), (2, 8)):
        images, results = pairs(story(policy, platforms, tags_move=False)[0])
        expect(len(results) == 30 and len(images) <= left, f"{len(images)} images and {len(results)} results")


run([
    ("lifecycle: the evaluation is that of ECR's user guide", as_the_user_guide_has_it),
    ("lifecycle: images and results stay together, one platform", lambda: images_and_results_stay_together(1)),
    ("lifecycle: images and results stay together, two platforms", lambda: images_and_results_stay_together(2)),
    ("lifecycle: tags that move, one platform", lambda: tags_that_move_leave_nothing_for_ever(1)),
    ("lifecycle: tags that move, two platforms", lambda: tags_that_move_leave_nothing_for_ever(2)),
    ("lifecycle: images without a result", images_without_a_result_cost_nobody_theirs),
    ("lifecycle: a backfill", a_backfill_by_count_and_by_age),
    ("lifecycle: V1, one platform", lambda: v1_without_the_rule_for_untagged_ones(1)),
    ("lifecycle: V1, two platforms", lambda: v1_without_the_rule_for_untagged_ones(2)),
    ("lifecycle: a count of all manifests is found out", a_count_of_all_manifests_is_found_out),
])
