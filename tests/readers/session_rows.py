"""Prints the rows of one session of DATA/lake/events as JSON, one a line, by seq, without columns that are null.

usage: session_rows.py DATA SESSION

Times are epoch milliseconds (fractions for microseconds), event_id is a UUID, custom an object.
"""

import datetime
import json
import os
import sys
import uuid

import pyarrow.dataset as ds
from deltalake import DeltaTable


def plain(name, value):
    """A value as JSON knows it."""
    if name == "event_id":
        return str(uuid.UUID(bytes=value))
    if name == "custom":
        return dict(value)
    if isinstance(value, datetime.datetime):
        return value.timestamp() * 1000
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def main(data, session):
    table = DeltaTable(f"{data}/lake/events").to_pyarrow_dataset()
    rows = table.to_table(filter=ds.field("session_id") == session).to_pylist()
    for row in sorted(rows, key=lambda row: (row["seq"], row["_partition"], row["_offset"], row["_row"])):
        print(json.dumps({name: plain(name, value) for name, value in row.items() if value is not None}))


if __name__ == "__main__":
    main(*sys.argv[1:])
    # Not by way of the interpreter's own end: an Arrow scan that has just finished may still have a thread at work, and
    # the destructors abort on it (apache/arrow issues 34314, 39862), with all rows long written.
    sys.stdout.flush()
    os._exit(0)
