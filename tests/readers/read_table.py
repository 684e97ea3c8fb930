"""Reads DATA/lake/events with three engines that know nothing of Playhead, and demands that they agree.

usage: read_table.py DATA [--rows N]
       read_table.py s3://BUCKET/PREFIX --option aws_endpoint=http://... --option aws_access_key_id=... [--rows N]

delta-rs with pyarrow, polars and DuckDB each have a reader of the Delta protocol of their own. Each engine computes
the same facts by itself; the facts must be equal, and must be what the documentation promises. The last line is
`N passed, 0 failed`; exit code 1 when anything failed.

A table on an object store (DATA is what `lake.url` is, options are `lake.options`) is read by delta-rs and polars;
DuckDB needs a further extension for that, which it is not given here.
"""

import argparse
import glob
import os
import sys
from datetime import timezone

import duckdb
import duckdb_extension_delta
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from report import Report

TYPES = {
    "event_id": pa.binary(),
    "tenant_id": pa.string(),
    "event_type": pa.string(),
    "event_time": pa.timestamp("us", "UTC"),
    "event_time_raw": pa.timestamp("us", "UTC"),
    "sent_at": pa.timestamp("us", "UTC"),
    "received_at": pa.timestamp("us", "UTC"),
    "session_id": pa.string(),
    "seq": pa.int64(),
    "playhead_ms": pa.int64(),
    "playback_rate": pa.float32(),
    "bitrate_kbps": pa.int32(),
    "width": pa.int16(),
    "error_fatal": pa.bool_(),
    "custom": pa.map_(pa.string(), pa.string()),
    "schema_version": pa.int16(),
    "event_date": pa.date32(),
    "_topic": pa.string(),
    "_partition": pa.int32(),
    "_offset": pa.int64(),
    "_row": pa.int64(),
}

# The same types in the words of the other two engines.
DUCKDB_TYPES = {
    pa.binary(): "BLOB", pa.string(): "VARCHAR", pa.timestamp("us", "UTC"): "TIMESTAMP WITH TIME ZONE",
    pa.int64(): "BIGINT", pa.int32(): "INTEGER", pa.int16(): "SMALLINT", pa.float32(): "FLOAT", pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE", pa.map_(pa.string(), pa.string()): "MAP(VARCHAR, VARCHAR)",
}
POLARS_TYPES = {
    pa.binary(): pl.Binary, pa.string(): pl.String, pa.timestamp("us", "UTC"): pl.Datetime("us", "UTC"),
    pa.int64(): pl.Int64, pa.int32(): pl.Int32, pa.int16(): pl.Int16, pa.float32(): pl.Float32, pa.bool_(): pl.Boolean,
    pa.date32(): pl.Date,
}


# So many ids, titles and sessions are looked up, one at a time: an engine that is misled by bounds or an index of ours finds
# nothing, in silence.
LOOKED_UP = 20
BOUNDED = ["content_id", "session_id"]


def of_pyarrow(path, options, report):
    """Facts by delta-rs' reader and pyarrow's kernels."""
    dataset = DeltaTable(path, storage_options=options).to_pyarrow_dataset()
    table = dataset.to_table()
    ids = sorted(table["event_id"].to_pylist())[:LOOKED_UP]
    for name, expected in TYPES.items():
        found = table.schema.field(name).type if name in table.schema.names else None
        report.check(f"pyarrow: {name} is {expected}", found == expected, f"is {found}")
    places = table.select(["_topic", "_partition", "_offset", "_row"])
    keys = table.select(["tenant_id", "event_id"])
    day = pc.cast(pc.floor_temporal(table["event_time"], unit="day"), pa.date32())
    as_list = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
    entries = pc.sum(pc.list_value_length(pc.cast(table["custom"], as_list))).as_py()
    types = table["event_type"].value_counts().to_pylist()
    return {
        "rows": table.num_rows,
        "distinct (tenant_id, event_id)": keys.group_by(keys.column_names).aggregate([]).num_rows,
        "distinct places": places.group_by(places.column_names).aggregate([]).num_rows,
        "sessions": pc.count_distinct(table["session_id"], mode="only_valid").as_py(),
        "bytes of event_id": (pc.min(pc.binary_length(table["event_id"])).as_py(),
                              pc.max(pc.binary_length(table["event_id"])).as_py()),
        "rows found by event_id": sum(dataset.count_rows(filter=pc.field("event_id") == of) for of in ids),
        # Counted without a filter, so whatever the bounds say.
        "rows found by a column with bounds": [
            rows for column in BOUNDED
            for _, rows in sorted((row["values"], row["counts"])
                                  for row in table[column].drop_null().value_counts().to_pylist())[:LOOKED_UP]
        ],
        "sum of playhead_ms": pc.sum(table["playhead_ms"]).as_py(),
        "count of playhead_ms": pc.count(table["playhead_ms"]).as_py(),
        "first event_time": pc.min(table["event_time"]).as_py(),
        "last event_time": pc.max(table["event_time"]).as_py(),
        "entries of custom": entries or 0,
        "rows of another event_date than event_time's": pc.sum(pc.not_equal(day, table["event_date"])).as_py(),
        "rows by event_type": sorted((row["values"], row["counts"]) for row in types),
    }


def of_polars(path, options, report):
    """Facts by polars' scan_delta."""
    scan = pl.scan_delta(path, storage_options=options)
    schema = scan.collect_schema()
    for name, expected in TYPES.items():
        if expected in POLARS_TYPES:
            found = schema.get(name)
            report.check(f"polars: {name} is {expected}", found == POLARS_TYPES[expected], f"is {found}")
    table = scan.select([name for name in TYPES if name != "custom"]).collect()
    size = table["event_id"].bin.size()
    ids = sorted(table["event_id"])[:LOOKED_UP]
    custom = pa.table(scan.select("custom").collect().to_arrow())["custom"].combine_chunks()
    return {
        "rows": table.height,
        "distinct (tenant_id, event_id)": table.select("tenant_id", "event_id").n_unique(),
        "distinct places": table.select("_topic", "_partition", "_offset", "_row").n_unique(),
        "sessions": table["session_id"].drop_nulls().n_unique(),
        "bytes of event_id": (size.min(), size.max()),
        "rows found by event_id":
            sum(scan.filter(pl.col("event_id") == of).select(pl.len()).collect().item() for of in ids),
        "rows found by a column with bounds": [
            scan.filter(pl.col(column) == of).select(pl.len()).collect().item()
            for column in BOUNDED
            for of in sorted(scan.select(column).collect()[column].drop_nulls().unique())[:LOOKED_UP]
        ],
        "sum of playhead_ms": table["playhead_ms"].sum(),
        "count of playhead_ms": table["playhead_ms"].count(),
        "first event_time": table["event_time"].min(),
        "last event_time": table["event_time"].max(),
        "entries of custom": sum(len(entries) for entries in custom.to_pylist() if entries),
        "rows of another event_date than event_time's":
            table.filter(pl.col("event_time").dt.date() != pl.col("event_date")).height,
        "rows by event_type": sorted(table.group_by("event_type").len().rows()),
    }


def of_duckdb(path, _options, report):
    """Facts by DuckDB's delta_scan, from the extension that its package ships: no download."""
    shipped = os.path.join(os.path.dirname(duckdb_extension_delta.__file__), "**", "*.duckdb_extension")
    session = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    for extension in glob.glob(shipped, recursive=True):
        session.execute(f"LOAD '{extension}'")
    session.execute("SET TimeZone = 'UTC'")
    session.execute(f"CREATE VIEW events AS SELECT * FROM delta_scan('{path}')")
    types = {row[0]: row[1] for row in session.execute("DESCRIBE events").fetchall()}
    for name, expected in TYPES.items():
        found = types.get(name)
        report.check(f"duckdb: {name} is {expected}", found == DUCKDB_TYPES[expected], f"is {found}")

    def one(expression, where="true"):
        return session.execute(f"SELECT {expression} FROM events WHERE {where}").fetchone()

    def time(function):
        return one(f"epoch_us({function}(event_time))")[0]

    ids = session.execute(f"SELECT event_id FROM events ORDER BY 1 LIMIT {LOOKED_UP}").fetchall()

    def found(of):
        return session.execute("SELECT count(*) FROM events WHERE event_id = ?::BLOB", of).fetchone()[0]

    def found_by(column):
        first = f"SELECT DISTINCT {column} FROM events WHERE {column} IS NOT NULL ORDER BY 1 LIMIT {LOOKED_UP}"
        counted = f"SELECT count(*) FROM events WHERE {column} = ?"
        return [session.execute(counted, of).fetchone()[0] for of in session.execute(first).fetchall()]

    return {
        "rows": one("count(*)")[0],
        "distinct (tenant_id, event_id)": one("count(DISTINCT (tenant_id, event_id))")[0],
        "distinct places": one("count(DISTINCT (_topic, _partition, _offset, _row))")[0],
        "sessions": one("count(DISTINCT session_id)")[0],
        "bytes of event_id": one("min(octet_length(event_id)), max(octet_length(event_id))"),
        "rows found by event_id": sum(found(of) for of in ids),
        "rows found by a column with bounds": [rows for column in BOUNDED for rows in found_by(column)],
        "sum of playhead_ms": one("sum(playhead_ms)::BIGINT")[0],
        "count of playhead_ms": one("count(playhead_ms)")[0],
        "first event_time": time("min"),
        "last event_time": time("max"),
        "entries of custom": one("coalesce(sum(cardinality(custom)), 0)::BIGINT")[0],
        "rows of another event_date than event_time's": one("count(*)", "event_time::DATE <> event_date")[0],
        "rows by event_type":
            sorted(session.execute("SELECT event_type, count(*) FROM events GROUP BY ALL").fetchall()),
    }


def comparable(value):
    """Times as microseconds since 1970, whatever an engine returns them as."""
    if hasattr(value, "astimezone"):
        utc = value.astimezone(timezone.utc)
        return int(utc.replace(microsecond=0).timestamp()) * 1_000_000 + utc.microsecond
    return value


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", help="a directory of Playhead, e.g. ./playhead-data, or a lake's URL, s3://...")
    arguments.add_argument("--option", action="append", default=[], help="NAME=VALUE, of the store, as in lake.options")
    arguments.add_argument("--rows", type=int, help="rows that the table must have")
    given = arguments.parse_args()
    engines = {"pyarrow": of_pyarrow, "polars": of_polars}
    if "://" in given.data:
        path = given.data.rstrip("/") + "/events"
    else:
        path = os.path.join(given.data, "lake", "events")
        engines["duckdb"] = of_duckdb
    options = dict(option.split("=", 1) for option in given.option) or None
    report = Report()

    facts = {}
    for engine, read in engines.items():
        facts[engine] = {name: comparable(value) for name, value in read(path, options, report).items()}
    first = facts["pyarrow"]
    for engine, others in facts.items():
        if engine != "pyarrow":
            for name, value in others.items():
                report.check(f"{engine} agrees on {name}", value == first[name], f"{value}, pyarrow says {first[name]}")

    rows = first["rows"]
    report.check("the table has rows", rows > 0)
    report.check("each (tenant_id, event_id) is there once", first["distinct (tenant_id, event_id)"] == rows,
                 f"{rows} rows, {first['distinct (tenant_id, event_id)']} distinct")
    report.check("each place of the log is there once", first["distinct places"] == rows,
                 f"{rows} rows, {first['distinct places']} distinct")
    report.check("each event is found by its id", first["rows found by event_id"] == min(rows, LOOKED_UP),
                 first["rows found by event_id"])
    report.check("event_id is 16 bytes", first["bytes of event_id"] == (16, 16), first["bytes of event_id"])
    report.check("event_date is event_time's day", first["rows of another event_date than event_time's"] == 0)
    if given.rows is not None:
        report.check("the table has the rows expected", rows == given.rows, f"{rows}, expected {given.rows}")

    print(f"{rows} rows read by {', '.join(facts)}: {report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    code = main()
    # As in session_rows.py: an Arrow scan's thread may abort the interpreter's end (apache/arrow issues 34314, 39862).
    sys.stdout.flush()
    os._exit(code)
