"""The tables of "Configuring how CloudWatch alarms treat missing data", row by row."""

import unittest

from alarms import ALARM, INSUFFICIENT, OK, Rule

RETAIN = "what it was"
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")


def points(text: str):
    return [{"0": 0.0, "X": 1.0, "-": None}[word] for word in text.split()]


class Tables(unittest.TestCase):
    """Five points are retrieved for three periods."""

    def rows(self, datapoints: int, rows):
        for text, *states in rows:
            for treatment, state in zip(TREATMENTS, states):
                rule = Rule("GreaterThanOrEqualToThreshold", 1.0, 3, datapoints, treatment)
                self.assertEqual(rule.state(points(text), RETAIN), state, f"{text} {treatment}")

    def test_three_of_three(self):
        self.rows(3, [
            ("0 - X - X", OK, OK, OK, OK),
            ("0 - - - -", OK, OK, OK, OK),
            ("- - - - -", INSUFFICIENT, RETAIN, ALARM, OK),
            ("0 X X - X", ALARM, ALARM, ALARM, ALARM),
            ("- - - - X", INSUFFICIENT, RETAIN, ALARM, OK),
            ("X - - - -", ALARM, RETAIN, ALARM, OK),
        ])

    def test_two_of_three(self):
        self.rows(2, [
            ("0 - X - X", ALARM, ALARM, ALARM, ALARM),
            ("0 0 X 0 X", ALARM, ALARM, ALARM, ALARM),
            ("0 - X - -", OK, OK, ALARM, OK),
            ("- - - - 0", OK, OK, ALARM, OK),
            ("- - - - X", INSUFFICIENT, RETAIN, ALARM, OK),
        ])

    def test_comparisons(self):
        for comparison, breaching in [
            ("GreaterThanOrEqualToThreshold", "01 1"), ("GreaterThanThreshold", "1"), ("LessThanThreshold", "0"),
        ]:
            rule = Rule(comparison, 5.0, 1, 1)
            found = [point for point in (4.0, 5.0, 6.0) if rule.breaches(point)]
            expected = {"01 1": [5.0, 6.0], "1": [6.0], "0": [4.0]}[breaching]
            self.assertEqual(found, expected, comparison)


if __name__ == "__main__":
    unittest.main()
