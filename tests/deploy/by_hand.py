"""Processes of this machine in the place of containers: their addresses, files, starts and ends."""

import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import compose_file

# Below those that the kernel gives to clients: while a service is down nobody gets its port by chance.
PORTS = range(20_000, 32_000)


class Failed(Exception):
    """What is wrong, in words."""


class Place:
    """Where things are that compose names by host and by path in a container."""

    def __init__(self, compose, scratch):
        self.services = compose["services"]
        self.scratch = pathlib.Path(scratch)
        self.ports = {}
        hosts = "|".join(map(re.escape, sorted(self.services, key=len, reverse=True)))
        # HOST:PORT, 0.0.0.0:PORT, 127.0.0.1:PORT, and :PORT at the start of a word or after `//`.
        self.addresses = re.compile(rf"(^|//|[\s\"'@])({hosts}|0\.0\.0\.0|127\.0\.0\.1|):(\d{{2,5}})\b")

    def address(self, service, port):
        """A free port of loopback in the place of `service:port`, the same each time it is asked for."""
        key = (service, int(port))
        while key not in self.ports:
            port = random.choice(PORTS)
            if port in self.ports.values():
                continue
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            self.ports[key] = port
        return f"127.0.0.1:{self.ports[key]}"

    def translate(self, text, service):
        """`text` of `service` with its addresses as they are here."""

        def here(match):
            before, host, port = match.groups()
            return before + self.address(host if host in self.services else service, port)

        return self.addresses.sub(here, text)

    def argument(self, text, service):
        """The same for a word of a command or a variable: its paths too."""
        text = self.translate(text, service)
        for source, target in compose_file.mounts(self.services[service]):
            text = re.sub(rf"(?<![\w/]){re.escape(target)}(?=/|$)", lambda _: str(self.path(source, service)), text)
        return text

    def path(self, source, service):
        """A copy of a bind mount with its addresses translated, or a volume's folder."""
        if not source.startswith("/"):
            folder = self.scratch / "volumes" / source
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        copy = self.scratch / "mounts" / service / pathlib.Path(source).name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if pathlib.Path(source).is_dir() else shutil.copy)(source, copy)
            for file in [copy, *copy.rglob("*")]:
                if file.is_file():
                    file.write_text(self.translate(file.read_text(), service))
        return copy

    def environment(self, service):
        """What the container would get, and nothing of this shell's but the way to programs."""
        given = compose_file.environment(self.services[service])
        translated = {name: self.argument(value, service) for name, value in given.items()}
        return {"PATH": os.environ["PATH"], "HOME": str(self.scratch), **translated}

    def command(self, service):
        """Its words."""
        return [self.argument(word, service) for word in self.services[service].get("command") or []]


class Process:
    """One service's process, its output in a file."""

    def __init__(self, name, command, environment, scratch):
        self.name = name
        self.output = pathlib.Path(scratch) / f"{name}.output"
        self.directory = pathlib.Path(scratch) / "work" / name
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            # Whatever ends this script, its processes end too.
            command = ["setpriv", "--pdeathsig", "KILL", *command]
            self.process = subprocess.Popen(
                command, env=environment, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def check(self):
        if self.process.poll() is not None:
            raise Failed(f"{self.name} ended with {self.process.returncode}")

    def stop(self, limit_s):
        """SIGTERM. Seconds it took, and the exit code; killed when it takes longer than `limit_s`."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(limit_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise Failed(f"{self.name} did not end within its stop_grace_period of {limit_s} s")
        return time.monotonic() - began, self.process.returncode

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def wait_until(what, test, limit_s, process=None):
    """Waits for the thing itself; `process` must live meanwhile."""
    deadline = time.monotonic() + limit_s
    while True:
        if process:
            process.check()
        found = test()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {limit_s} s")
        time.sleep(0.2)


def get(url):
    """Status and body; `None` when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None
