"""The dashboard, the alert rules and the documentation say the same names.

usage: monitoring.py    exit code 1 and a list when they don't

- every metric of a rule or a panel is in the table of docs/operations.md, and in the code of the room that it names
  (process_...: of the crate that exports them)
- every metric of that table is on the dashboard
- every value of a label that a rule or panel picks out is one that the code gives to that label
- every alert has a section in docs/operations.md, its runbook_url leads there, and a test makes it fire
- the dashboard is sound: ids, places, units, descriptions of what is not plain; its expressions are PromQL
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/prometheus/alerts.yml"
TESTS = ROOT / "deploy/prometheus/alerts_test.yml"
DASHBOARD = ROOT / "deploy/grafana/playhead.json"
OPERATIONS = ROOT / "docs/operations.md"
ROOMS = ["ingest", "log", "lake", "sink", "processor", "maintenance", "playhead"]
# Exports process_..., the names that all clients of Prometheus use.
PROCESS_CRATE = "metrics-process"
METRIC = re.compile(r"\b(?:playhead|process)_[a-z_]+[a-z]\b")
# What Prometheus adds to a histogram's name.
SUFFIX = re.compile(r"_(bucket|sum|count)$")
# Series that a healthy cluster over Kafka does not have: of the embedded log, of trouble, of upkeep that is not due yet.
MAY_BE_EMPTY = re.compile(
    r"playhead_log_|playhead_kafka_\w+_errors_total|refetches_total|request_failures_total|refused_total|lake_commit_conflicts_total|lake_merged_files_total|lake_checkpoint_seconds|maintenance_compaction_seconds"
    r"|(sink|processor)_superseded_total|windows_cut_total|lake_upkeep_stopped|sink_dead_letters_total\S*\[\$"
)
VARIABLES = {"$__rate_interval": "1m", "$__interval": "1m", "$instance": ".*", "$partition": ".*"}


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions(variables=None):
    """(panel's title, PromQL) of each query."""
    found = []
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in (variables or {}).items():
                expression = expression.replace(name, value)
            found.append((panel["title"], expression))
    return found


def unanswered(query):
    """Queries that `query` (PromQL to a list of results) has no answer for, and should have."""
    plain, filled = expressions(), expressions(VARIABLES)
    return [
        f"{title}: {expression}"
        for (_, raw), (title, expression) in zip(plain, filled)
        if not MAY_BE_EMPTY.search(raw) and not query(expression)
    ]


def quoted(expression):
    return urllib.parse.quote(expression, safe="")


def names(text):
    """Metrics that a text names, histograms by their own name."""
    documented = set(METRIC.findall(OPERATIONS.read_text()))
    found = set()
    for name in METRIC.findall(text):
        found.add(name if name in documented else SUFFIX.sub("", name))
    return found


def documented():
    """Metrics of the table in docs/operations.md."""
    rows = [line.split("|")[1] for line in OPERATIONS.read_text().splitlines() if line.startswith("| `")]
    return set().union(*[set(METRIC.findall(row)) for row in rows])


def code():
    files = [path for room in ROOMS for path in (ROOT / room / "src").rglob("*.rs")]
    return "\n".join(path.read_text() for path in files)


def label_values():
    """What the edge gives to the labels `reason` and `outcome`: constants of its instruments, names of its problems."""
    instruments = (ROOT / "ingest/src/instruments.rs").read_text()
    problems = (ROOT / "ingest/src/problem.rs").read_text()
    reasons = re.findall(r'const \w+: &str = "([a-z-]+)"', instruments) + re.findall(r'\(\s*"([a-z-]+)",\s*StatusCode::', problems)
    return {"reason": set(reasons), "outcome": set(re.findall(r'"outcome" => "(\w+)"', instruments))}


def process_metrics():
    """What the crate exports, of the version that we build with; without a prefix, as we ask for."""
    asked = ["cargo", "metadata", "--format-version=1", "--locked"]
    packages = json.loads(subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout)["packages"]
    manifest = next(package["manifest_path"] for package in packages if package["name"] == PROCESS_CRATE)
    source = (pathlib.Path(manifest).parent / "src/lib.rs").read_text()
    return set(re.findall(r'"\{prefix\}(process_[a-z_]+)"', source))


def check_names():
    source, table = code(), documented()
    rules = "\n".join(re.findall(r"expr:.*?(?=\n        (?:for|labels):)", RULES.read_text(), re.S))
    board = "\n".join(expression for _, expression in expressions())
    if not table or not rules:
        yield "the search itself must find something"
    for name in sorted((names(rules) | names(board)) - table):
        yield f"{name} is on the dashboard or in a rule, and not in the table of docs/operations.md"
    for name in sorted(table - names(board)):
        yield f"{name} is in docs/operations.md, and not on the dashboard"
    process = process_metrics() if "metrics_process::Collector" in source else set()
    for name in sorted(table):
        if f'"{name}"' not in source and name not in process:
            yield f"{name} is in docs/operations.md, and not in the code"
    given = label_values()
    for label, values in re.findall(r'\b(reason|outcome|kind|table|operation)=~?"([^"$]+)"', rules + board):
        for value in values.split("|"):
            if value not in given.get(label, ()):
                yield f'{label}="{value}" is picked out, but the code never gives that value to it'


def check_alerts():
    text, page, tests = RULES.read_text(), OPERATIONS.read_text(), TESTS.read_text()
    alerts = re.findall(r"- alert: (\w+)", text)
    sections = re.findall(r"^### (Playhead\w+)", page, re.M)
    links = re.findall(r"runbook_url: \S+/docs/operations\.md#(\S+)", text)
    if [alert.lower() for alert in alerts] != links:
        yield f"each alert's runbook_url leads to the section of its name: {alerts} {links}"
    for alert in sorted(set(alerts) ^ set(sections)):
        yield f"{alert} is an alert without a section in docs/operations.md, or the other way round"
    for alert in alerts:
        if f'alertname="{alert}", alertstate="firing"' not in tests:
            yield f"no test of alerts_test.yml makes {alert} fire"
    severities = set(re.findall(r"severity: (\w+)", text))
    if not severities <= {"critical", "warning"}:
        yield f"severity is critical or warning: {severities}"


def check_dashboard():
    board = json.loads(DASHBOARD.read_text())
    everything = board["panels"]
    ids = [panel["id"] for panel in everything]
    if len(set(ids)) != len(ids):
        yield "two panels have one id"
    taken = {}
    for panel in everything:
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24:
            yield f"{panel['title']} is wider than the page"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (other := taken.setdefault((x, y), panel["title"])) != panel["title"]:
                    yield f"{panel['title']} covers {other}"
    for panel in panels():
        if not panel["fieldConfig"]["defaults"].get("unit"):
            yield f"{panel['title']} has no unit"
        if any(target["datasource"]["uid"] != "${datasource}" for target in panel["targets"]):
            yield f"{panel['title']} is tied to one data source"
    known = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
    for title, expression in expressions():
        if unknown := set(re.findall(r"\$(\w+)", expression)) - known:
            yield f"{title} has variables that the dashboard does not: {unknown}"


def check_expressions():
    """promtool reads them as recording rules."""
    rules = [
        f"      - {{ record: 'panel:{number}', expr: {json.dumps(expression)} }}"
        for number, (_, expression) in enumerate(expressions(VARIABLES))
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write("groups:\n  - name: dashboard\n    rules:\n" + "\n".join(rules) + "\n")
        file.flush()
        checked = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True)
    if checked.returncode != 0:
        yield f"promtool: {checked.stdout}{checked.stderr}"


def main():
    wrong = [*check_names(), *check_alerts(), *check_dashboard(), *check_expressions()]
    for problem in wrong:
        print(problem, file=sys.stderr)
    if wrong:
        sys.exit(1)
    print(f"monitoring: {len(documented())} metrics, {len(panels())} panels, {len(expressions())} queries agree")


if __name__ == "__main__":
    main()
