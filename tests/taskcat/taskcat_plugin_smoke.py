"""A hook of taskcat: tries every stack with a small image, as `./deploy --smoke` does.

taskcat alone creates stacks and deletes them, which says nothing of whether they work. It finds this file as the type `smoke`
where this folder is in PYTHONPATH. What it calls post-hooks run as soon as the stacks have been asked for, one test after
the other, and not when they are there: so this one waits for them first, in all regions of a test at once.

A stack that cannot be created is left to taskcat, which tells of it with its events after the hooks. All else that goes
wrong is an error here, at which taskcat deletes what it has made and fails.

The hook's `config` may have `seconds`, the longest wait for an index. `aws` of version 2 and the program are found as
`./deploy` finds them (DEPLOY_PROGRAM).
"""

import logging
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from taskcat.exceptions import TaskCatException

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
LOG = logging.getLogger(__name__)


class Hook:
    """What taskcat calls: with the hook's configuration, its own, the test, and two that are of no use here."""

    def __init__(self, hook_config: Mapping[str, Any] | None, _config: Any, test: Any, _parameters: Any = None,
                 _outputs: Any = None) -> None:
        seconds = (hook_config or {}).get("seconds")
        self.options = [] if seconds is None else ["--smoke-seconds", str(seconds)]
        self.test = test
        with ThreadPoolExecutor(max(1, len(test.regions))) as pool:
            wrong = [problem for problem in pool.map(self.problem_in, test.regions) if problem]
        if wrong:
            raise TaskCatException("; ".join(wrong))

    def problem_in(self, region: Any) -> str:
        """What is wrong with the stack in a region, or nothing."""
        where = ["--stack-name", self.test.stack_name, "--region", region.name]
        # That is what taskcat calls it where none is set.
        if region.profile != "default":
            where += ["--profile", region.profile]
        there = run(["aws", "cloudformation", "wait", "stack-create-complete", *where])
        if there.returncode:
            if "terminal failure state" in there.stderr:
                LOG.warning("%s: the stack is not created, so nothing is pushed", region.name)
                return ""
            return f"{region.name}: {there.stderr.strip()}"
        tried = run([str(DEPLOY), "--smoke", *where, *self.options])
        LOG.info("%s:\n%s", region.name, tried.stdout)
        return f"{region.name}: {tried.stderr.strip() or 'no reason was given'}" if tried.returncode else ""


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
