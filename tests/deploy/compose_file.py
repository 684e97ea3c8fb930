"""docker-compose.yml as its own parser understands it, for scripts that run it without containers."""

import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load(path=ROOT / "docker-compose.yml"):
    """The file with anchors merged and variables filled in; `services` with all profiles."""
    command = ["docker-compose", "--profile", "monitoring", "-f", str(path), "config"]
    # Compose 2 gives JSON; the first one prints its usage, and knows YAML alone.
    answer = subprocess.run([*command, "--format", "json"], capture_output=True, text=True)
    if answer.stdout.startswith("{"):
        return unescaped(json.loads(answer.stdout))
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode != 0:
        raise SystemExit(f"docker-compose can't read {path}:\n{answer.stderr}")
    import yaml  # Debian's docker-compose 1 is written in Python and brings it.

    return unescaped(yaml.safe_load(answer.stdout))


def unescaped(node):
    """`config` prints what compose reads: each `$` is doubled."""
    if isinstance(node, dict):
        return {key: unescaped(value) for key, value in node.items()}
    if isinstance(node, list):
        return [unescaped(value) for value in node]
    return node.replace("$$", "$") if isinstance(node, str) else node


def environment(service):
    """As the container gets it."""
    return {name: str(value) for name, value in (service.get("environment") or {}).items()}


def mounts(service):
    """(source, target) of each volume: a path of this machine, or a volume's name."""
    found = []
    for volume in service.get("volumes") or []:
        if isinstance(volume, dict):
            found.append((volume["source"], volume["target"]))
        else:
            source, target = volume.split(":")[:2]
            found.append((source, target))
    return found


def seconds(text):
    """`40s` or `1m30s` as a number."""
    total, number = 0, ""
    for character in str(text):
        if character.isdigit():
            number += character
            continue
        total += int(number) * {"s": 1, "m": 60, "h": 3600}[character]
        number = ""
    return total
