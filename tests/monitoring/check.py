"""The cases of tests/monitoring/run: check.py PROMTOOL ROOT WORK"""

import collections
import json
import pathlib
import re
import subprocess
import sys
import traceback

import yaml

RULES = "docs/monitoring/prometheus-rules.yml"
RULES_TEST = "docs/monitoring/prometheus-rules-test.yml"
DASHBOARD = "docs/monitoring/grafana-dashboard.json"
METRICS = "docs/METRICS.md"
RUNBOOK = "docs/RUNBOOK.md"

PREFIX = "soci_index_builder_"
# What Prometheus itself gives every series, and what a bucket has.
COMMON_LABELS = {"job", "instance", "le"}
# A series of Prometheus about each of its targets.
OF_PROMETHEUS = {"up"}
SEVERITIES = {"critical", "warning", "info"}
GRID_WIDTH = 24
# What Grafana puts in for its variables, or something like it.
GRAFANA_VARIABLES = {"$__rate_interval": "1m", "$__interval": "1m", "$job": ".+", "$instance": ".+"}
KEYWORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan"}
# Words behind which a list of labels stands in parentheses.
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
AGGREGATIONS = {
    "sum", "min", "max", "avg", "group", "count", "stddev", "stdvar", "topk", "bottomk", "quantile", "count_values"
}
TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*")"""
    r"""|(?P<duration>\[[^\]]*\]|\b\d+(?:ms|[smhdwy])\b)"""
    r"""|(?P<number>\b\d+(?:\.\d+)?(?:e[+-]?\d+)?\b)"""
    r"""|(?P<word>[A-Za-z_:][A-Za-z0-9_:]*)"""
    r"""|(?P<operator>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){},])"""
    r"""|(?P<space>\s+)"""
)


class Failed(Exception):
    """What was expected is not so."""


def none(found):
    """Fails with everything that was found, one a line."""
    found = list(found)
    if found:
        raise Failed("\n".join(found))


Selector = collections.namedtuple("Selector", "metric matchers")
Matcher = collections.namedtuple("Matcher", "label operator value")


class Expression:
    """What is read out of an expression: its selectors, and the labels that it groups or joins by.

    It is no check of the grammar, which promtool does.
    """

    def __init__(self, text):
        self.selectors = []
        self.grouped = set()
        self.rest = self.tokens(text)
        while self.rest:
            kind, word = self.rest.pop(0)
            if kind != "word":
                continue
            if word in GROUPING:
                if self.next_is("("):
                    self.grouped |= set(self.list_until(")"))
            elif word.lower() not in KEYWORDS and word not in AGGREGATIONS and not self.next_is("("):
                inside = self.list_until("}") if self.next_is("{") else []
                matchers = [
                    Matcher(label, operator, json.loads(value))
                    for label, operator, value in zip(inside[::3], inside[1::3], inside[2::3])
                ]
                self.selectors.append(Selector(word, matchers))

    @staticmethod
    def tokens(text):
        """Pairs of kind and text, without spaces."""
        found, place = [], 0
        while place < len(text):
            match = TOKEN.match(text, place)
            if not match:
                raise Failed(f"not understood from here: {text[place:place + 40]!r}")
            place = match.end()
            if match.lastgroup != "space":
                found.append((match.lastgroup, match.group()))
        return found

    def next_is(self, text):
        return bool(self.rest) and self.rest[0][1] == text

    def list_until(self, end):
        """Takes what stands between a bracket, which comes next, and its end."""
        self.rest.pop(0)
        texts = []
        while not self.next_is(end):
            texts.append(self.rest.pop(0)[1])
        self.rest.pop(0)
        return [text for text in texts if text != ","]


def headed(text):
    """The lines outside of code blocks, each with its heading: its level and text, or nothing."""
    inside = False
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        inside ^= fence
        if not inside and not fence:
            match = re.match(r"(#{1,6}) +(.*?)[ #]*$", line)
            yield line, (len(match.group(1)), match.group(2)) if match else None


def section(text, heading):
    """The lines under a heading of the second level, with what is below it."""
    found, inside = [], False
    for line, head in headed(text):
        if head and head[0] <= 2:
            inside = head == (2, heading)
        elif inside:
            found.append(line)
    if not found:
        raise Failed(f"there is nothing under {heading!r}")
    return found


def anchors(text):
    """What GitHub calls the headings: lower case, dashes for spaces, other marks left out."""
    found, seen = set(), collections.Counter()
    for _, head in headed(text):
        if head:
            # What is shown of a link is its text.
            shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head[1]).lower()
            anchor = "".join(c for c in shown if c.isalnum() or c in "-_ ").replace(" ", "-")
            found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
            seen[anchor] += 1
    return found


class Documents:
    """What the documents say about metrics."""

    def __init__(self, root):
        self.metrics = (root / METRICS).read_text()
        self.runbook = (root / RUNBOOK).read_text()
        origin = re.search(r'^repository = "(.+)"$', (root / "Cargo.toml").read_text(), re.M).group(1)
        self.runbook_url = f"{origin}/blob/main/{RUNBOOK}#"
        # Name to kind and labels, of every series that a metric has.
        self.series = {}
        meanings = {}
        row = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$", re.M)
        for name, kind, labels, meaning in row.findall(self.metrics):
            labels = set(re.findall(r"`(\w+)`", labels))
            meanings[name] = meaning
            ends = ["_bucket", "_sum", "_count"] if kind == "histogram" else [""]
            for end in ends:
                self.series[name + end] = (kind, labels)
        if len(self.series) < 30:
            raise Failed(f"{METRICS} has no table of metrics that is understood")
        self.outcomes = self.listed(self.metrics, r"`outcome` is one of (.*?)\(")
        messages = meanings[PREFIX + "queue_messages"]
        self.lanes = set(re.split(r", ", re.search(r"\((.*?)\)", messages).group(1)))
        self.message_states = set(re.split(r", | or ", messages.split(": ")[1]))
        self.heartbeat_results = set(re.split(r", | or ", meanings[PREFIX + "heartbeats_total"].split(": ")[1]))
        # The table of the states; further down are tables of other things.
        states = "\n".join(section(self.runbook, "What a worker is doing")).split("\n### ")[0]
        first_cells = re.findall(r"^\| (.*?) \|", states, re.M)
        self.states = {word for cell in first_cells for word in re.findall(r"`([\w-]+)`", cell)}

    @staticmethod
    def listed(text, pattern):
        return set(re.findall(r"`([\w-]+)`", re.search(pattern, text, re.S).group(1)))

    def values(self, metric, label):
        """What a label may be, or nothing where the documents do not list it."""
        if label == "outcome":
            return self.outcomes
        if label == "lane":
            return self.lanes
        if label == "state":
            return self.states if metric == PREFIX + "state" else self.message_states
        if label == "result":
            return self.heartbeat_results
        return None


def panels_of(dashboard):
    """All panels, with those in rows that are folded."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def fill_in(expression):
    """The expression with something in place of Grafana's variables."""
    for name in sorted(GRAFANA_VARIABLES, key=len, reverse=True):
        expression = expression.replace(name, GRAFANA_VARIABLES[name])
    return expression


class Cases:
    """Each method that begins with `case_` is a case; its first line of documentation is its name."""

    def __init__(self, promtool, root, work):
        self.promtool, self.root, self.work = promtool, root, work
        self.documents = Documents(root)
        self.rules_file = yaml.safe_load((root / RULES).read_text())
        self.tests_file = yaml.safe_load((root / RULES_TEST).read_text())
        self.dashboard = json.loads((root / DASHBOARD).read_text())
        self.rules = [rule for group in self.rules_file["groups"] for rule in group["rules"]]
        self.panels = [panel for panel in panels_of(self.dashboard) if panel["type"] != "row"]

    def promtool_says(self, *arguments, folder=None):
        result = subprocess.run(
            [self.promtool, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if result.returncode != 0:
            raise Failed(result.stdout)

    def dashboard_expressions(self):
        for panel in self.panels:
            for target in panel["targets"]:
                yield f"panel {panel['title']!r}, {target['refId']}", fill_in(target["expr"])

    def expressions(self):
        for rule in self.rules:
            yield f"rule {rule.get('alert') or rule.get('record')}", rule["expr"]
        yield from self.dashboard_expressions()
        for variable in self.dashboard["templating"]["list"]:
            if variable["type"] == "query":
                inner = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
                if not inner:
                    raise Failed(f"variable {variable['name']!r} is no label_values")
                yield f"variable {variable['name']!r}", fill_in(inner.group(1))

    def selectors(self):
        for place, expression in self.expressions():
            for selector in Expression(expression).selectors:
                yield place, selector

    def case_rules(self):
        """promtool accepts the rules"""
        self.promtool_says("check", "rules", str(self.root / RULES))

    def case_rules_tests(self):
        """promtool's tests of the rules pass"""
        self.promtool_says("test", "rules", str(self.root / RULES_TEST))

    def case_dashboard_expressions(self):
        """promtool reads every expression of the dashboard"""
        rules = [
            {"record": f"expression:{number}", "expr": expression, "labels": {"place": re.sub(r"\W", " ", place)}}
            for number, (place, expression) in enumerate(self.dashboard_expressions())
        ]
        file = self.work / "dashboard-expressions.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, sort_keys=False))
        self.promtool_says("check", "rules", str(file))

    def case_metric_names(self):
        """every metric is one of docs/METRICS.md"""
        known = set(self.documents.series) | OF_PROMETHEUS
        none(f"{place}: {s.metric}" for place, s in self.selectors() if s.metric not in known)

    def case_labels(self):
        """every label is one that docs/METRICS.md gives the metric"""
        found = []
        for place, expression in self.expressions():
            read = Expression(expression)
            known = set(COMMON_LABELS)
            for selector in read.selectors:
                own = COMMON_LABELS | self.documents.series.get(selector.metric, ("", set()))[1]
                known |= own
                names = {matcher.label for matcher in selector.matchers}
                found += [f"{place}: {selector.metric} has no {name}" for name in sorted(names - own)]
            found += [f"{place}: no metric in it has {name}" for name in sorted(read.grouped - known)]
        none(found)

    def case_label_values(self):
        """every outcome, state, lane and result is one that the documents name"""
        found = []
        for place, selector in self.selectors():
            for matcher in selector.matchers:
                known = self.documents.values(selector.metric, matcher.label)
                if known is None:
                    continue
                values = matcher.value.split("|") if matcher.operator in ("=~", "!~") else [matcher.value]
                found += [f"{place}: {matcher.label} {value!r}" for value in values if value not in known]
        none(found)

    def case_counters(self):
        """rate and increase are of counters and histograms alone"""
        found = []
        for place, expression in self.expressions():
            for function, argument in re.findall(r"\b(rate|increase|irate)\(\s*(\w+)\{", expression):
                kind = self.documents.series.get(argument, ("", ()))[0]
                if kind not in ("counter", "histogram"):
                    found.append(f"{place}: {function} of {argument}, which is a {kind}")
        none(found)

    def case_alerts(self):
        """every alert has a severity, a summary, a description and a place in the runbook"""
        found = []
        names = [rule["alert"] for rule in self.rules if "alert" in rule]
        found += [f"{name} is there {count} times" for name, count in collections.Counter(names).items() if count > 1]
        for rule in self.rules:
            if "alert" not in rule:
                continue
            if rule.get("labels", {}).get("severity") not in SEVERITIES:
                found.append(f"{rule['alert']}: severity")
            annotations = rule.get("annotations", {})
            found += [
                f"{rule['alert']}: {name}"
                for name in ("summary", "description", "runbook_url")
                if not annotations.get(name, "").strip()
            ]
            if not annotations.get("runbook_url", "").startswith(self.documents.runbook_url):
                found.append(f"{rule['alert']}: runbook_url is not {self.documents.runbook_url}...")
        none(found)

    def case_runbook(self):
        """every place in the runbook is a heading there"""
        known = anchors(self.documents.runbook)
        found = []
        for rule in self.rules:
            anchor = rule.get("annotations", {}).get("runbook_url", "").partition("#")[2]
            if "alert" in rule and anchor not in known:
                found.append(f"{rule['alert']}: {RUNBOOK} has no #{anchor}")
        none(found)

    def case_tested(self):
        """every alert has a test in which it is there and one in which it is not"""
        there, nowhere = set(), set()
        for test in self.tests_file["tests"]:
            by_alert = collections.defaultdict(list)
            for case in test.get("alert_rule_test", []):
                by_alert[case["alertname"]].append(bool(case.get("exp_alerts")))
            there |= {alert for alert, fired in by_alert.items() if any(fired)}
            nowhere |= {alert for alert, fired in by_alert.items() if not any(fired)}
        alerts = {rule["alert"] for rule in self.rules if "alert" in rule}
        found = [f"{alert} is never there" for alert in sorted(alerts - there)]
        found += [f"{alert} has no test without it" for alert in sorted(alerts - nowhere)]
        found += [f"{alert} is tested and is no alert" for alert in sorted((there | nowhere) - alerts)]
        none(found)

    def case_panels(self):
        """every panel has a title, a description, a unit, a data source and a target"""
        found = []
        for panel in self.panels:
            name = panel.get("title") or f"panel {panel.get('id')}"
            for what, value in [
                ("title", panel.get("title")),
                ("description", panel.get("description", "").strip()),
                ("unit", panel.get("fieldConfig", {}).get("defaults", {}).get("unit")),
                ("target", panel.get("targets")),
            ]:
                if not value:
                    found.append(f"{name}: no {what}")
            sources = [panel.get("datasource")] + [target.get("datasource") for target in panel.get("targets", [])]
            if any(source != {"type": "prometheus", "uid": "${datasource}"} for source in sources):
                found.append(f"{name}: its data source is not the variable")
            references = [target["refId"] for target in panel.get("targets", [])]
            if len(set(references)) != len(references):
                found.append(f"{name}: two targets with one refId")
        none(found)

    def case_grid(self):
        """panels have ids of their own and lie side by side"""
        found = []
        panels = list(panels_of(self.dashboard))
        ids = collections.Counter(panel["id"] for panel in panels)
        found += [f"id {number} is there {count} times" for number, count in ids.items() if count > 1]
        cells = {}
        for panel in self.dashboard["panels"]:
            grid = panel["gridPos"]
            if grid["x"] < 0 or grid["y"] < 0 or min(grid["w"], grid["h"]) < 1 or grid["x"] + grid["w"] > GRID_WIDTH:
                found.append(f"{panel['title']}: outside of the grid")
            for x in range(grid["x"], grid["x"] + grid["w"]):
                for y in range(grid["y"], grid["y"] + grid["h"]):
                    other = cells.setdefault((x, y), panel)
                    if other is not panel:
                        found.append(f"{panel['title']}: over {other['title']} at {x}, {y}")
        none(found)

    def case_variables(self):
        """every variable that an expression uses is one of the dashboard or of Grafana"""
        known = {variable["name"] for variable in self.dashboard["templating"]["list"]}
        known |= {"__rate_interval", "__interval", "__range"}
        text = json.dumps(self.dashboard)
        used = set(re.findall(r"\$\{?(\w+)", text)) - {"__all"}
        none(f"${name}" for name in sorted(used - known))

    def case_states(self):
        """the state timeline has a word for every state"""
        timelines = [panel for panel in self.panels if panel["type"] == "state-timeline"]
        found = []
        for panel in timelines:
            selectors = Expression(fill_in(panel["targets"][0]["expr"])).selectors
            shown = {m.value for s in selectors for m in s.matchers if m.label == "state"}
            found += [f"{panel['title']}: {state}" for state in sorted(self.documents.states - shown)]
            codes = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
            if len(codes) != len(self.documents.states):
                found.append(f"{panel['title']}: {len(codes)} words for {len(self.documents.states)} states")
        none(found if timelines else ["there is none"])


def main():
    promtool, root, work = sys.argv[1:]
    cases = Cases(promtool, pathlib.Path(root), pathlib.Path(work))
    passed = failed = 0
    for method in [getattr(cases, name) for name in vars(Cases) if name.startswith("case_")]:
        name = method.__doc__.splitlines()[0]
        try:
            method()
        except Failed as error:
            print(f"FAIL {name}\n{error}", flush=True)
            failed += 1
        except Exception:
            print(f"FAIL {name}", flush=True)
            traceback.print_exc()
            failed += 1
        else:
            print(f"ok  {name}", flush=True)
            passed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
