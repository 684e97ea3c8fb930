"""Runs docker-compose.yml without containers, and proves that what it starts does what the README promises.

usage: compose_by_hand.py BINARY KAFKA_LIBS MINIO    (scripts/deploy-check calls it so)

There is no engine where this runs. So each service is a process of this machine, with the command, the environment and
the mounted files of the compose file; only hosts, ports and paths are translated. Services start in the order of their
`depends_on` conditions, health checks are the compose file's own commands. Then: load on both ingest nodes, an exact
audit, what Kafka's own tools say, one sink stopped and started, everything stopped by SIGTERM within its grace period,
and the audit again. Prometheus runs with its rules, and every query of the dashboard must have an answer.

Not run: the images, the bucket's one-shot (`mc` is not at hand: the bucket is a folder of the store), Grafana.
"""

import itertools
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading

import compose_file
import monitoring
from by_hand import Failed, Place, Process, get, wait_until

READY_S = 90
RATE, SECONDS = 2000, 5

# Services that are roles of ours, by how their names begin.
ROLES = ("ingest", "sink", "processor")


class Cluster:
    """The services as processes."""

    def __init__(self, binary, kafka_libs, minio, scratch):
        self.compose = compose_file.load()
        self.services = self.compose["services"]
        self.place = Place(self.compose, scratch)
        self.scratch = pathlib.Path(scratch)
        self.binary, self.kafka_libs, self.minio = binary, kafka_libs, minio
        self.running, self.healthy = {}, set()

    def up(self, name):
        """Starts `name` after what it depends on, each in the condition that it asks for."""
        if name in self.running or name in self.healthy:
            return
        for needed, condition in (self.services[name].get("depends_on") or {}).items():
            self.up(needed)
            if condition["condition"] == "service_started":
                raise Failed(f"{name} must wait for {needed} to be ready, not only started")
        starter = getattr(self, "start_" + name.split("-")[0])
        process = starter(name)
        if process:
            self.running[name] = process
            wait_until(f"{name} is healthy", lambda: self.is_healthy(name), READY_S, process)
        self.healthy.add(name)
        print(f"  {name}: healthy")

    def start_kafka(self, name):
        environment = self.place.environment(name)
        skipped = {"KAFKA_HEAP_OPTS"}
        properties = {
            key.removeprefix("KAFKA_").lower().replace("_", "."): value
            for key, value in environment.items()
            if key.startswith("KAFKA_") and key not in skipped
        }
        file = self.scratch / "server.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        if not (pathlib.Path(properties["log.dirs"]) / "meta.properties").exists():
            self.java("kafka.tools.StorageTool", "format", "-t", environment["CLUSTER_ID"], "-c", file)
        heap = environment["KAFKA_HEAP_OPTS"].split()
        return Process(name, ["java", *heap, "-cp", self.kafka_libs, "kafka.Kafka", str(file)], environment, self.scratch)

    def start_minio(self, name):
        environment = {**self.place.environment(name), "MINIO_UPDATE": "off"}
        return Process(name, [self.minio, *self.place.command(name)], environment, self.scratch)

    def start_lake(self, name):
        """The one-shot: `mc mb lake/BUCKET`."""
        script = " ".join(self.services[name]["command"])
        bucket = script.split("mc mb --ignore-existing lake/")[1].split()[0]
        (self.place.path("minio", "minio") / bucket).mkdir(exist_ok=True)

    def start_ingest(self, name):
        return Process(name, [self.binary, *self.place.command(name)], self.place.environment(name), self.scratch)

    start_sink = start_processor = start_ingest

    def start_prometheus(self, name):
        address = self.place.address(name, 9090)
        command = ["prometheus", *self.place.command(name), f"--web.listen-address={address}"]
        return Process(name, command, self.place.environment(name), self.scratch)

    def is_healthy(self, name):
        """The compose file's own check, where its programs are here."""
        test = self.services[name]["healthcheck"]["test"]
        if test[0] == "CMD-SHELL":
            words = self.place.translate(test[1], name).split(" > ")[0].split()
            # Variables before the tool: of its JVM in the container.
            tool, *arguments = itertools.dropwhile(lambda word: "=" in word, words)
            tools = {"kafka-broker-api-versions.sh": "org.apache.kafka.tools.BrokerApiVersionsCommand"}
            return self.java(tools[pathlib.Path(tool).name], *arguments, check=False).returncode == 0
        if test[1] == "playhead-ready":
            script = compose_file.ROOT / "deploy/docker/playhead-ready"
            return subprocess.run([script, self.place.translate(test[2], name)], capture_output=True).returncode == 0
        if test[1] == "mc":
            url = f"http://{self.place.address(name, 9000)}/minio/health/cluster"
        else:
            url = self.place.translate(test[-1], name)
        return (get(url) or (0,))[0] == 200

    def java(self, tool, *arguments, check=True):
        """One of Kafka's tools, by its class."""
        command = ["java", "-cp", self.kafka_libs, tool, *map(str, arguments)]
        ran = subprocess.run(command, capture_output=True, text=True)
        if check and ran.returncode != 0:
            raise Failed(f"{tool} failed:\n{ran.stdout}{ran.stderr}")
        return ran

    def playhead(self, name, *arguments):
        """`docker compose exec NAME playhead ...`: exit code and the JSON object of the last line."""
        command = [self.binary, *map(str, arguments), "--json"]
        ran = subprocess.run(command, env=self.place.environment(name), cwd=self.scratch, capture_output=True, text=True)
        lines = ran.stdout.splitlines()
        if not lines:
            raise Failed(f"playhead {arguments[0]} said nothing:\n{ran.stderr}")
        return ran.returncode, json.loads(lines[-1])

    def stop(self, name):
        """SIGTERM, within the grace period that compose gives."""
        limit = compose_file.seconds(self.services[name].get("stop_grace_period", "10s"))
        process = self.running.pop(name)
        self.healthy.discard(name)
        took, code = process.stop(limit)
        if name.startswith(ROLES) and code != 0:
            raise Failed(f"{name} ended with {code} after SIGTERM")
        print(f"  {name}: stopped in {took:.1f} s")

    def down(self):
        for process in self.running.values():
            process.kill()


def load(cluster, name, acked):
    """Events that were acknowledged, and those whose fate is unknown: they may be in the lake."""
    url = "http://" + cluster.place.address(name, 8080)
    code, report = cluster.playhead(
        name, "load", "--url", url, "--rate", RATE, "--seconds", SECONDS, "--batch", 50, "--seed", len(acked), "--acked", acked[-1]
    )
    # How many it takes of what is offered is the machine's business.
    if code != 0 or report["acknowledged"] == 0:
        raise Failed(f"load on {name}: {code} {report}")
    return report["acknowledged"], report["unknown"]


class Screen(threading.Thread):
    """Looks at the open windows of both processors, by one of them, as people do while events come."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.off, self.titles, self.failed = cluster, threading.Event(), 0, None

    def run(self):
        while not self.off.wait(0.5) and not self.failed:
            try:
                _, row = self.cluster.playhead("processor-1", "sql", "select count(*) as titles from live.audience")
                self.titles = max(self.titles, row["titles"])
            except (Failed, KeyError, ValueError) as error:
                self.failed = error

    def end(self):
        self.off.set()
        self.join()
        if self.failed or not self.titles:
            raise Failed(f"open windows by SQL: {self.titles} titles, {self.failed}")
        print(f"  processor-1: {self.titles} titles in open windows, by playhead sql")


def audit(cluster, name, acked, sent):
    """Exact, each file of acknowledged events in it; `sent` is what each load returned."""
    acknowledged, unknown = map(sum, zip(*sent))
    for file in acked:
        code, report = cluster.playhead(name, "audit", "--acked", file)
        if code != 0 or not report["ok"] or report["missing"] or report["duplicates"] or report["gaps"]:
            raise Failed(f"audit of {file.name}: {code} {report}")
    if not acknowledged <= report["rows"] <= acknowledged + unknown:
        raise Failed(f"{report['rows']} rows, {acknowledged} were acknowledged, {unknown} are unknown")
    print(f"  audit: exact, {report['rows']} rows")


def groups(cluster):
    """What Kafka's own tool says: every partition has a sink and a processor, and no sink is behind."""
    address = cluster.place.address("kafka", 9092)
    tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
    listed = cluster.java(tool, "--bootstrap-server", address, "--list").stdout.split()
    by_role = {group.rsplit("-", 1)[-1]: group for group in listed}
    if sorted(by_role) != ["processor", "sink"] or len(listed) != 2:
        raise Failed(f"one group of sinks and one of processors are expected: {listed}")

    def described(group):
        """What it prints, and of each partition the columns."""
        text = cluster.java(tool, "--bootstrap-server", address, "--describe", "--group", group).stdout
        rows = [line.split() for line in text.splitlines() if line.startswith(group)]
        return text, [row for row in rows if len(row) > 6]

    _, processors = described(by_role["processor"])
    # The last column is the member's client, the one before its host.
    if len({row[6] for row in processors}) != 2 or len({row[2] for row in processors}) != 8:
        raise Failed(f"two processors share eight partitions: {processors}")

    def caught_up():
        text, partitions = described(by_role["sink"])
        behind = [row for row in partitions if row[5] not in ("0", "-")]
        return text if partitions and not behind else None

    text = wait_until("Kafka's own tool shows no lag", caught_up, 60)
    print("\n".join("  " + line for line in text.strip().splitlines()))


def scraped(cluster):
    """Prometheus has all nodes, its rules are sound, and the dashboard's queries have answers."""
    address = cluster.place.address("prometheus", 9090)

    def ask(path):
        answer = get(f"http://{address}/api/v1/{path}")
        return json.loads(answer[1])["data"] if answer and answer[0] == 200 else None

    nodes = [name for name in cluster.services if name.startswith(ROLES)]

    def all_up():
        targets = (ask("targets?state=active") or {}).get("activeTargets", [])
        return len([target for target in targets if target["health"] == "up"]) == len(nodes)

    wait_until("Prometheus scrapes all nodes", all_up, 60, cluster.running["prometheus"])

    def results(expression):
        return (ask(f"query?query={monitoring.quoted(expression)}") or {}).get("result")

    empty = []

    def answered():
        empty[:] = monitoring.unanswered(results)
        return not empty

    # Two scrapes more at least: a rate needs two samples.
    try:
        wait_until("the dashboard's queries have answers", answered, 120, cluster.running["prometheus"])
    except Failed as error:
        raise Failed(f"{error}; these have none:\n" + "\n".join(empty)) from None
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    unsound = [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] == "err"]
    firing = [rule["name"] for rule in rules if rule.get("state") == "firing"]
    if unsound or firing or not rules:
        raise Failed(f"rules: unsound {unsound}, firing on a healthy cluster {firing}, {len(rules)} in all")
    print(f"  prometheus: {len(nodes)} nodes up, {len(rules)} rules sound, none fires; the dashboard's queries have answers")


def main():
    binary, kafka_libs, minio = sys.argv[1:]
    # As an exception, so that folders and processes go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="compose-by-hand-") as scratch:
        cluster = Cluster(binary, kafka_libs + "/*", minio, scratch)
        acked = []
        try:
            for name in cluster.services:
                if name != "grafana":
                    cluster.up(name)
            sent, screen = [], Screen(cluster)
            screen.start()
            for name in ("ingest-1", "ingest-2"):
                acked.append(cluster.scratch / f"acked-{name}")
                sent.append(load(cluster, name, acked))
            screen.end()
            audit(cluster, "sink-1", acked, sent)
            groups(cluster)
            scraped(cluster)
            # One sink goes: the other takes its partitions, and gives some back when it returns.
            cluster.stop("sink-1")
            acked.append(cluster.scratch / "acked-without-sink-1")
            sent.append(load(cluster, "ingest-1", acked))
            cluster.up("sink-1")
            audit(cluster, "sink-2", acked, sent)
            for name in ("ingest-1", "ingest-2", "sink-1", "sink-2", "processor-1", "processor-2"):
                cluster.stop(name)
            audit(cluster, "sink-1", acked, sent)
            for name in ("prometheus", "minio", "kafka"):
                cluster.stop(name)
        except Failed as error:
            keep(cluster)
            raise SystemExit(f"compose by hand FAILED: {error}") from None
        finally:
            cluster.down()
    print("compose by hand: passed")


def keep(cluster):
    """What the services printed, for whoever looks for the reason."""
    for output in sorted(cluster.scratch.glob("*.output")):
        lines = output.read_text(errors="replace").splitlines()[-25:]
        print(f"--- {output.name}\n" + "\n".join(lines), file=sys.stderr)


if __name__ == "__main__":
    main()
