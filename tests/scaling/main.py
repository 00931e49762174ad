"""The scenarios of tests/scaling/run: main.py [--seeds N] [--template FILE] [NAME...]"""

import argparse
import multiprocessing
import pathlib
import sys
import time

from cloud import WORLDS
from scenarios import ALL, makers

ROOT = pathlib.Path(__file__).parent.parent.parent


def play(given: tuple[str, pathlib.Path, int]) -> tuple[str, bool, str]:
    """Plays one scenario in all worlds; gives its lines."""
    name, template, seeds = given
    figures, wrong = [], []
    for called, make in makers(template, WORLDS, range(1, seeds + 1)):
        outcome = ALL[name](make)
        cloud = outcome.cloud
        figures.append((cloud.most_tasks(), outcome.first_task, cloud.task_hours(), frozenset(cloud.notified())))
        wrong.extend(f"    {called}: {line}" for line in outcome.wrong)
    tasks, firsts, hours, alarms = zip(*figures)
    firsts = [first for first in firsts if first is not None]
    told = sorted(set().union(*alarms))
    first = f"the first after {span(firsts, '.0f')} s, " if firsts else ""
    line = (
        f"{name}: at most {max(tasks)} tasks, {first}{span(hours, '.1f')} task-hours, alarms: {', '.join(told) or 'none'}"
    )
    return name, not wrong, "\n".join([line, *wrong])


def span(values, form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low}-{high}"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--template", type=pathlib.Path, default=ROOT / "template.yaml")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    names = [name for name in ALL if not options.names or any(part in name for part in options.names)]
    started, passed = time.monotonic(), 0
    # The longest first, so that no process waits for it at the end.
    order = sorted(names, key=lambda name: "10,000" not in name and "week" not in name and "day" not in name)
    with multiprocessing.Pool() as pool:
        results = pool.imap(play, [(name, options.template, options.seeds) for name in order], chunksize=1)
        for _, good, text in results:
            print(("ok  " if good else "FAIL ") + text, flush=True)
            passed += good
    print(f"{passed} passed, {len(names) - passed} failed in {time.monotonic() - started:.0f} s")
    return 0 if passed == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
