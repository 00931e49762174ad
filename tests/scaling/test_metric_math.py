"""What CloudWatch's guide gives as examples, and what the scenarios rest on."""

import unittest

from metric_math import Evaluation, MathError, Readings

NONE = None


def evaluate(expression: str, readings: Readings = Readings(), **metrics):
    length = len(next(iter(metrics.values())))
    series = {name: [None if point is None else float(point) for point in points] for name, points in metrics.items()}
    return Evaluation(series, {"result": expression}, readings, length).series("result")


class GuideExamples(unittest.TestCase):
    """The tables of "Using math expressions with CloudWatch metrics"."""

    def test_comparisons_count_a_missing_point_as_0(self):
        one, two = [30, 20, 0, 0], [20, NONE, 20, NONE]
        self.assertEqual(evaluate("(m1 < m2)", m1=one, m2=two), [0, 0, 1, 0])
        self.assertEqual(evaluate("(m1 >= 30)", m1=one, m2=two), [1, 0, 0, 0])
        self.assertEqual(evaluate("(m1 > 15 AND m2 > 15)", m1=one, m2=two), [1, 0, 0, 0])

    def test_if_of_series(self):
        one, two, three = [1, 1, 0, 0, NONE], [30, NONE, 0, 0, 30], [0, 0, 20, NONE, 20]
        self.assertEqual(evaluate("IF(m1, m2, m3)", m1=one, m2=two, m3=three), [30, 0, 20, NONE, NONE])
        self.assertEqual(evaluate("IF(m1, 5, m3)", m1=one, m3=three), [5, 5, 20, NONE, NONE])
        self.assertEqual(evaluate("IF(m1, m2, 5)", m1=one, m2=two), [30, 0, 5, 5, NONE])
        self.assertEqual(evaluate("IF(m1 < 10, m1)", m1=[5, 20, NONE]), [5, NONE, NONE])


class Points(unittest.TestCase):
    """Where an expression has a point."""

    def test_an_array_has_one_where_any_of_its_series_has(self):
        self.assertEqual(evaluate("SUM([a, b])", a=[1, NONE, NONE], b=[2, 3, NONE]), [3, 3, NONE])
        self.assertEqual(evaluate("MAX([a, b])", a=[1, NONE, NONE], b=[2, 3, NONE]), [2, 3, NONE])
        self.assertEqual(evaluate("SUM(METRICS())", a=[1, NONE], b=[NONE, NONE]), [1, NONE])
        self.assertEqual(evaluate('SUM(METRICS("x"))', ax=[1, 1], b=[5, 5]), [1, 1])

    def test_arithmetic_counts_a_missing_point_as_0_or_has_none(self):
        strict = Readings(missing_is_zero=False)
        self.assertEqual(evaluate("a - b", a=[5, NONE, NONE], b=[NONE, 2, NONE]), [5, -2, NONE])
        self.assertEqual(evaluate("a - b", strict, a=[5, 3], b=[NONE, 2]), [NONE, 1])
        self.assertEqual(evaluate("a * 0", a=[5, NONE]), [0, NONE])

    def test_a_division_by_0_has_none(self):
        self.assertEqual(evaluate("a / b", a=[6, 6, 6], b=[2, 0, NONE]), [3, NONE, NONE])
        self.assertEqual(evaluate("SUM(100 / [a, a])", a=[4, 0]), [50, NONE])

    def test_fill(self):
        self.assertEqual(evaluate("FILL(a, 7)", a=[1, NONE]), [1, 7])
        self.assertEqual(evaluate("FILL(a, REPEAT)", a=[NONE, 1, NONE]), [NONE, 1, 1])
        self.assertEqual(evaluate("FILL(FILL(a, REPEAT), 0)", a=[NONE, 1, NONE]), [0, 1, 1])
        self.assertEqual(evaluate("SUM(FILL(METRICS(), 0))", a=[NONE, 1], b=[2, NONE]), [2, 1])
        self.assertEqual(evaluate("FILL(a, 0)", Readings(fills_empty=False), a=[NONE, NONE]), [NONE, NONE])
        self.assertEqual(evaluate("FILL(a, 0)", a=[NONE, NONE]), [0, 0])

    def test_diff_looks_for_the_point_before(self):
        self.assertEqual(evaluate("DIFF(a)", a=[1, 4, NONE, 6]), [NONE, 3, NONE, 2])


class Syntax(unittest.TestCase):
    """What binds how, and what is refused."""

    def test_precedence(self):
        self.assertEqual(evaluate("1 + 2 * a ^ 2 - 1", a=[3]), [18])
        self.assertEqual(evaluate("a > 1 AND a < 5 OR a == 9", a=[3, 6, 9]), [1, 0, 1])
        self.assertEqual(evaluate("-a + 4", a=[3]), [1])
        self.assertEqual(evaluate("a > 1 && a < 5 || a == 9", a=[3, 6, 9]), [1, 0, 1])

    def test_what_is_no_series_is_refused(self):
        for expression in ("5", "[a, a]", "MAX(a)", "SUM([a, 1])", "unknown", "a +", "a b", "a ? 1"):
            with self.assertRaises(MathError, msg=expression):
                evaluate(expression, a=[1])


if __name__ == "__main__":
    unittest.main()
