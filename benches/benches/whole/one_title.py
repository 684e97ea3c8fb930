"""What DuckDB reads for one title on one day: FOLDER DAY TITLE. Prints rows, bytes and milliseconds, of the query alone."""
import sys
import time

import duckdb
from deltalake import DeltaTable

folder, day, title = sys.argv[1:]
files = DeltaTable(folder).file_uris(partition_filters=[("event_date", "=", day)])


def read_chars():
    with open("/proc/self/io") as io:
        return int(io.readline().split()[1])


before, since = read_chars(), time.monotonic()
rows, _, _ = duckdb.execute(
    "select count(*), count(distinct session_id), avg(bitrate_kbps) from read_parquet($files) where content_id = $title",
    {"files": [file.removeprefix("file://") for file in files], "title": title},
).fetchone()
print(rows, read_chars() - before, (time.monotonic() - since) * 1e3)
