"""Kills a node again and again under load with late and doubled events, and demands that DuckDB, which knows nothing of
Playhead, computes the same rollups from the table `events`.

usage: rollups.py BINARY SCRATCH [--kills N] [--seed N]

The four default rollups are kept with windows of 2 s, so that many close. Of each window every revision must be what the
SQL gives over the events below the positions that it names, and the newest what it gives over all. Exact aggregates must be
equal, sketches within the error that is documented: five standard deviations of 1.6 % for distinct counts, 1/128 for
percentiles. Apache DataSketches' own library must read each state of a distinct count, and count the same values as we do.
The days that `playhead sql` gives must be what one query over all events gives, and so must the day before, which is kept as rows:
DuckDB reads it from the table `days/NAME`. The last line is `N passed, 0 failed`; exit code 1 when anything failed.
"""

import argparse
import glob
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import datetime, timezone

import datasketches
import duckdb
import duckdb_extension_delta

from report import Report

WINDOW_S = 2
LATE_A_ROUND = 20
BEFORE = 400
STANDARD_ERROR = 0.016
PERCENTILE_ERROR = 1 / 128
SETTLED_MAX_S = 240
TYPES = ["heartbeat", "error", "ad_start", "ad_end", "ad_click", "ad_skip", "ad_error"]

# The defaults in DuckDB's words: name, filter, keys, and (column, expression, how it is compared).
EXACT, DISTINCT, PERCENTILE = "exact", "distinct", "percentile"


def share(column, p):
    """The nearest rank, as approx_percentile is documented."""
    rank = f"greatest(1, cast(ceil(round({p} * count({column}), 9)) as bigint))"
    return f"list_sort(list({column}) filter ({column} is not null))[{rank}]"


def of(event_type):
    return f"count(*) filter (event_type = '{event_type}')"


SESSIONS = ("sessions", "count(distinct session_id)", DISTINCT)
ROLLUPS = [
    ("audience", "content_id is not null", ["content_id", "device_type"], [
        ("content_title", "max(content_title)", EXACT), ("events", "count(*)", EXACT), ("plays", of("play"), EXACT),
        SESSIONS, ("viewers", "count(distinct viewer_id)", DISTINCT)]),
    ("quality", "true", ["cdn", "country", "device_type", "player_version"], [
        SESSIONS, ("plays", of("play"), EXACT), ("startups", "count(startup_ms)", EXACT),
        ("startup_ms_p50", share("startup_ms", 0.5), PERCENTILE),
        ("startup_ms_p95", share("startup_ms", 0.95), PERCENTILE),
        ("rebuffers", of("rebuffer_start"), EXACT), ("rebuffer_ms", "sum(rebuffer_ms)", EXACT),
        ("bitrate_kbps_p50", share("bitrate_kbps", 0.5), PERCENTILE), ("errors", of("error"), EXACT),
        ("fatal_errors", "count(*) filter (event_type = 'error' and error_fatal)", EXACT)]),
    ("errors", "event_type = 'error'", ["error_code", "cdn", "device_type", "player_version"], [
        ("errors", "count(*)", EXACT), ("fatal_errors", "count(*) filter (error_fatal)", EXACT), SESSIONS]),
    ("ads", "event_type in ('ad_start', 'ad_end', 'ad_skip', 'ad_click', 'ad_error')", ["ad_id", "ad_position"], [
        ("impressions", of("ad_start"), EXACT), ("completions", of("ad_end"), EXACT), ("skips", of("ad_skip"), EXACT),
        ("clicks", of("ad_click"), EXACT), ("errors", of("ad_error"), EXACT), SESSIONS]),
]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Node:
    """`playhead up`, which may be killed and started again at the same addresses."""

    def __init__(self, binary, data, config):
        self.listen, self.admin = free_port(), free_port()
        self.command = [binary, "up", "--data", data, "--config", config, "--listen", f"127.0.0.1:{self.listen}",
                        "--admin", f"127.0.0.1:{self.admin}"]
        self.log = open(f"{data}.log", "ab")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=5)
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        raise SystemExit(f"the node does not become ready: see {self.log.name}")

    def end(self, with_signal):
        self.process.send_signal(with_signal)
        self.process.wait()

    def post(self, event):
        request = urllib.request.Request(f"http://127.0.0.1:{self.listen}/v1/events", json.dumps(event).encode(),
                                         {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=20)


def configuration(binary, path):
    """The defaults as they are, with short windows."""
    explained = json.loads(subprocess.check_output([binary, "rollup", "explain", "--json"]))
    lines = ["rollup_defaults = false"]
    for rollup in explained["rollups"]:
        sql = rollup["rollup"]["sql"]
        lines += ["[[rollup]]", f'name = "{rollup["rollup"]["name"]}"', f'window = "{WINDOW_S}s"',
                  'allowed_lateness = "1s"', f"sql = '''{sql}'''"]
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


def event_at(seconds, session, number, chance):
    # Ads are what the load has none of.
    event = {"event_type": chance.choice(TYPES), "event_time": datetime.fromtimestamp(seconds, timezone.utc).isoformat(),
             "session_id": session, "content_id": f"late-{number % 3}", "device_type": "tv",
             "viewer_id": f"viewer-{number % 5}", "bitrate_kbps": chance.randint(100, 9000), "cdn": "edge-late"}
    event |= {"ad_id": f"ad-{number % 2}", "ad_position": "preroll"} if event["event_type"].startswith("ad_") else {}
    event |= {"error_code": "late", "error_fatal": number % 2 == 0} if event["event_type"] == "error" else {}
    return event


def before(node, chance):
    """Events of the day before, in many of its windows."""
    midnight = time.time() // 86_400 * 86_400
    for number in range(BEFORE):
        node.post(event_at(midnight - 86_400 * (BEFORE - number) / BEFORE, f"before-{number % 50}", number, chance))


def disturb(node, kills, chance):
    for round_number in range(kills):
        time.sleep(chance.uniform(0.5, 3))
        for number in range(LATE_A_ROUND):
            late = time.time() - chance.randint(0, 40)
            node.post(event_at(late, f"late-{round_number}-{number}", number, chance))
        time.sleep(chance.uniform(0, 1.5))
        node.end(signal.SIGKILL)
        node.start()


def connect(data):
    database = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    shipped = os.path.join(os.path.dirname(duckdb_extension_delta.__file__), "**", "*.duckdb_extension")
    for extension in glob.glob(shipped, recursive=True):
        database.execute(f"load '{extension}'")
    database.execute("set timezone = 'UTC'")
    for table in ["events", "late_windows"] + [f"rollups/{name}" for name, *_ in ROLLUPS]:
        view = table.replace("rollups/", "of_")
        database.execute(f"create view {view} as select * from delta_scan('{data}/lake/{table}')")
    return database


def kept(data):
    """How many rollups have the day before as rows."""
    yesterday = datetime.fromtimestamp(time.time() // 86_400 * 86_400 - 1, timezone.utc).date()
    return sum(bool(glob.glob(f"{data}/lake/days/{name}/window_date={yesterday}/*.parquet")) for name, *_ in ROLLUPS)


def settled(data):
    """Waits until every window is closed, none waits for a correction, and the day before is kept."""
    deadline = time.monotonic() + SETTLED_MAX_S
    while time.monotonic() < deadline:
        database = connect(data)
        waiting = database.execute("select count(*) from late_windows").fetchone()[0]
        rolled = database.execute(
            "select coalesce(sum(events), 0) from (select events, revision, max(revision) over (partition by window_start) "
            "newest from of_audience) where revision = newest").fetchone()[0]
        events = database.execute("select count(*) from events where content_id is not null").fetchone()[0]
        if waiting == 0 and rolled == events and kept(data) == len(ROLLUPS):
            return
        time.sleep(1)
    raise SystemExit(f"after {SETTLED_MAX_S} s {waiting} windows wait, {rolled} of {events} events are in windows, "
                     f"{kept(data)} of {len(ROLLUPS)} rollups have the day before")


def differs(kind, told, exact):
    if kind == EXACT or told is None or exact is None:
        return told != exact
    if kind == DISTINCT:
        return abs(told - exact) > max(0.5, 5 * STANDARD_ERROR * exact)
    return abs(told - exact) > PERCENTILE_ERROR * abs(exact) + 1e-9


def compare(what, told, exact, keys, kinds, report):
    """Rows by their keys: all there, none twice, each column as exact as it is documented."""
    by_keys = {tuple(row[:keys]): row[keys:] for row in told}
    report.check(f"{what}: no group stands twice", len(by_keys) == len(told))
    wanted = {tuple(row[:keys]): row[keys:] for row in exact}
    report.check(f"{what}: the same groups", by_keys.keys() == wanted.keys(),
                 f"lacks {list(wanted.keys() - by_keys.keys())[:3]}, has {list(by_keys.keys() - wanted.keys())[:3]}")
    for place, (column, kind) in enumerate(kinds):
        wrong = [(key, by_keys[key][place], row[place]) for key, row in wanted.items()
                 if key in by_keys and differs(kind, by_keys[key][place], row[place])]
        report.check(f"{what}: {column}", not wrong, f"{len(wrong)} of {len(wanted)}, such as {wrong[:3]}")


def check(database, binary, data, report):
    start, day = f"epoch_us(event_time) // {WINDOW_S * 1_000_000}", "epoch_us(event_time) // 86_400_000_000"
    window = f"epoch_us(window_start) // {WINDOW_S * 1_000_000}"
    for name, where, keys, columns in ROLLUPS:
        kinds = [(column, kind) for column, _, kind in columns]
        selected = ", ".join(keys + [column for column, *_ in columns])
        measured = ", ".join(expression for _, expression, _ in columns)
        newest = (f"select * from of_{name} qualify revision = max(revision) over (partition by window_start)")
        told = database.execute(f"select {window}, {selected} from ({newest})").fetchall()
        exact = database.execute(f"select {start} as start, {', '.join(keys)}, {measured} from events where {where} "
                                 "group by all").fetchall()
        compare(f"newest of {name}", told, exact, 1 + len(keys), kinds, report)

        # Each revision by the events below its positions.
        told = database.execute(f"select {window}, revision, {selected} from of_{name}").fetchall()
        revisions = f"(select distinct {window} as start, revision, positions from of_{name})"
        exact = database.execute(
            f"select r.start, r.revision, {', '.join('e.' + key for key in keys)}, {measured} "
            f"from {revisions} r join (select * from events where {where}) e "
            f"on {start} = r.start and e._offset < map_extract_value(r.positions, e._partition) "
            "group by all").fetchall()
        compare(f"revisions of {name}", told, exact, 2 + len(keys), kinds, report)
        print(f"{name}: {len(told)} rows, {len({row[:2] for row in told})} revisions of "
              f"{len({row[0] for row in told})} windows, newest revision {max(row[1] for row in told)}")

        # Days: those that are kept as rows, and the one that is put together of its windows' states.
        days = f"select cast(date_part('epoch', window_start) as bigint) / 86400 as day, {selected} from days.{name}"
        rows = subprocess.check_output([binary, "sql", "--data", data, "--format", "json", days])
        told = [tuple(json.loads(line).values()) for line in rows.splitlines()]
        exact = database.execute(f"select {day} as day, {', '.join(keys)}, {measured} from events where {where} "
                                 "group by all").fetchall()
        compare(f"days of {name}", told, exact, 1 + len(keys), kinds, report)
        of_table = database.execute(f"select epoch(window_start)::bigint // 86400 as day, {selected} from delta_scan('{data}/lake/days/{name}')")
        told = of_table.fetchall()
        kept_days = {row[0] for row in told}
        report.check(f"kept days of {name}: there are some", bool(kept_days))
        compare(f"kept days of {name}", told, [row for row in exact if row[0] in kept_days], 1 + len(keys), kinds, report)


def check_states(database, report):
    """By the library that the states' format is of: it reads them, and its own sketch of the same values adds nothing."""
    states = database.execute("select sessions, sessions_state from of_audience").fetchall()
    union = datasketches.hll_union(12)
    wrong = 0
    for sessions, state in states:
        sketch = datasketches.hll_sketch.deserialize(state)
        wrong += round(sketch.get_estimate()) != sessions
        union.update(sketch)
    report.check("states of distinct counts, read by Apache DataSketches", not wrong, f"{wrong} of {len(states)} differ")
    values = database.execute("select distinct session_id from events where content_id is not null").fetchall()
    ours = union.get_estimate()
    for (session,) in values:
        union.update(session)
    for what, estimate in [("ours", ours), ("both", union.get_estimate())]:
        report.check(f"distinct sessions by the states of {what}", not differs(DISTINCT, estimate, len(values)),
                     f"{estimate} of {len(values)}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("scratch")
    arguments.add_argument("--kills", type=int, default=10)
    arguments.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = arguments.parse_args()
    print(f"seed {given.seed}")
    data, config = f"{given.scratch}/data", f"{given.scratch}/rollups.toml"
    configuration(given.binary, config)
    node = Node(given.binary, data, config)
    node.start()
    chance = random.Random(given.seed)
    before(node, chance)
    load = subprocess.Popen([given.binary, "load", "--url", f"http://127.0.0.1:{node.listen}", "--viewers", "1500", "--speed",
                             "20", "--batch", "20", "--seconds", "86400", "--json"], stdout=subprocess.PIPE)
    try:
        disturb(node, given.kills, chance)
        load.send_signal(signal.SIGINT)
        acknowledged = json.loads(load.communicate()[0].splitlines()[-1])["acknowledged"]
        settled(data)
    finally:
        load.kill()
        node.end(signal.SIGTERM)
    database = connect(data)
    events = database.execute("select count(*) from events").fetchone()[0]
    print(f"{given.kills} kills; {acknowledged} events acknowledged to the load, {events} in the lake")
    report = Report()
    report.check("there is a load", acknowledged > 1_000)
    corrected = database.execute("select count(*) from of_audience where revision > 1").fetchone()[0]
    report.check("some windows were corrected", corrected > 0)
    check(database, given.binary, data, report)
    check_states(database, report)
    print(f"{report.passed} passed, {report.failed} failed")
    return 0 if report.failed == 0 else 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
