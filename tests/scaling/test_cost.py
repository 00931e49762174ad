"""What docs/COST.md says of alarms is what the templates have: an alarm is paid for each metric that it looks at."""

import pathlib
import re
import unittest

from resolve import Stack, load

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
WORDS = {"five": 5, "nine": 9}


class Cost(unittest.TestCase):
    def test_alarms(self):
        text = re.sub(r"\s+", " ", (ROOT / "docs/COST.md").read_text(encoding="utf-8"))
        told = re.findall(r"(five|nine) alarms look at (\d+) metrics", text)
        found = []
        for template in ("template.yaml", "templates/core.yaml"):
            alarms = Stack(load(ROOT / template)).of_type("AWS::CloudWatch::Alarm").values()
            metrics = sum(sum("MetricStat" in one for one in alarm.get("Metrics", [])) or 1 for alarm in alarms)
            found.append((len(alarms), metrics))
        self.assertEqual([(WORDS[alarms], int(metrics)) for alarms, metrics in told], found)


if __name__ == "__main__":
    unittest.main()
