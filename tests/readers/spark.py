"""Reads every version of DATA/lake/events and dead_letters with Apache Spark and Delta's own library, and counts.

usage: spark.py DATA JARS --rows N

JARS is a folder with delta-spark and what it needs beside Spark. Each version that its files are still there for must
have every event once, and no fewer events than the version before; the newest has N. What is compacted, replayed or
rebuilt between two versions must change nothing. The last line is `N passed, 0 failed`; exit code 1 when anything failed.
"""

import argparse
import glob
import os
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from report import Report


def session(jars):
    """One thread, no network beside loopback, no user interface."""
    settings = {
        "spark.jars": ",".join(sorted(glob.glob(os.path.join(jars, "*.jar")))),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.session.timeZone": "UTC",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
    }
    builder = SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def versions(spark, path):
    """Numbers and operations, oldest first."""
    rows = spark.sql(f"describe history delta.`{path}`").select("version", "operation").collect()
    return sorted((row.version, row.operation) for row in rows)


def counts(spark, path, version):
    """Rows, distinct events, distinct places in the log, and rows that lack what every row has."""
    rows = spark.read.format("delta").option("versionAsOf", version).load(path)
    place = F.struct("_partition", "_offset", "_row")
    lacking = F.count_if(F.col("event_time").isNull() | F.col("event_type").isNull() | (F.length("event_id") != 16))
    of = rows.agg(F.count("*"), F.count_distinct("tenant_id", "event_id"), F.count_distinct(place), lacking)
    return tuple(of.collect()[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("jars")
    parser.add_argument("--rows", type=int, required=True)
    arguments = parser.parse_args()
    report = Report()
    spark = session(arguments.jars)
    path = os.path.abspath(os.path.join(arguments.data, "lake/events"))
    before, operations = 0, {}
    for version, operation in versions(spark, path):
        rows, events, places, lacking = counts(spark, path, version)
        operations[operation] = operations.get(operation, 0) + 1
        report.check(f"version {version} ({operation}): each event once", rows == events == places, (rows, events, places))
        report.check(f"version {version} ({operation}): whole rows", lacking == 0, lacking)
        report.check(f"version {version} ({operation}): nothing went", rows >= before, (before, rows))
        before = rows
    report.check("the newest version", before == arguments.rows, (before, arguments.rows))
    newest = spark.read.format("delta").load(path)
    by_date = newest.groupBy("event_date").count().collect()
    report.check("dates are those of the event times",
                 newest.where(F.to_date("event_time") != F.col("event_date")).count() == 0)
    report.check("dates add up", sum(row["count"] for row in by_date) == arguments.rows, by_date)
    letters = os.path.abspath(os.path.join(arguments.data, "lake/dead_letters"))
    report.check("dead letters are read", spark.read.format("delta").load(letters).count() >= 0)
    print(f"Spark {spark.version}; versions by operation: {operations}")
    spark.stop()
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
