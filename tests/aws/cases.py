"""How the tests of this folder tell what came out."""

import sys
import traceback
from collections.abc import Callable, Iterable


class Failed(Exception):
    """What was expected is not so."""


def none(found: Iterable[str]) -> None:
    """Fails with what was found, one a line."""
    found = list(found)
    if found:
        more = [f"... and {len(found) - 20} more"] if len(found) > 20 else []
        raise Failed("\n".join(found[:20] + more))


def run(cases: list[tuple[str, Callable[[], None]]]) -> None:
    """Runs all cases, prints "ok  CASE" or "FAIL CASE" for each, and ends with 1 if one has failed."""
    failures = 0
    for name, case in cases:
        try:
            case()
        except Failed as error:
            message = str(error)
        except Exception:  # pylint: disable=broad-except
            message = traceback.format_exc()
        else:
            print(f"ok  {name}", flush=True)
            continue
        failures += 1
        print(f"FAIL {name}", flush=True)
        for line in message.splitlines():
            print(f"    {line}", flush=True)
    sys.exit(1 if failures else 0)
