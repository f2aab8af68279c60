"""A cluster file as it was read: its nodes, its commands, and the versions it must agree with."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import ConfigError
from orchestrator.upkeep.check_software import read_wishes
from orchestrator.upkeep.findings import Finding

TESTED_PYTHON = "3.11"
"""Python of constraints.txt."""
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
SETUPS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
PINNED = re.compile(r"\bray(?:\[[\w,]+\])?==([\w.]+)")


@dataclass(frozen=True)
class ClusterFile:
    """A file for `ray up`."""

    path: Path
    text: str
    config: Mapping[str, Any]
    tested: Mapping[str, str] = field(default_factory=dict)
    """Versions of constraints.txt by package; of what is installed here where there is no such file."""

    @property
    def is_local(self) -> bool:
        """Hosts that are there already, reached by SSH; they have no node types."""
        return self.provider.get("type") == "local"

    @property
    def provider(self) -> Mapping[str, Any]:
        return mapping(self.config.get("provider"))

    @property
    def docker(self) -> Mapping[str, Any]:
        return mapping(self.config.get("docker"))

    @property
    def node_types(self) -> dict[str, Mapping[str, Any]]:
        return {str(k): mapping(v) for k, v in mapping(self.config.get("available_node_types")).items()}

    @property
    def head_name(self) -> str:
        return str(self.config.get("head_node_type", ""))

    @property
    def workers(self) -> dict[str, Mapping[str, Any]]:
        return {name: node for name, node in self.node_types.items() if name != self.head_name}

    def commands(self, *names: str) -> list[str]:
        """All commands of these keys, of node types too, in order."""
        found: list[str] = []
        for name in names:
            for holder in (self.config, *self.node_types.values()):
                given = holder.get(name) or ()
                found += [str(one) for one in given] if isinstance(given, list | tuple) else []
        return found

    @cached_property
    def setup(self) -> list[str]:
        """What runs on a node before Ray is started."""
        return self.commands(*SETUPS)

    @cached_property
    def head_start(self) -> dict[str, str]:
        """Options of `ray start --head`; empty where the file leaves it to Ray's defaults."""
        return next((o for c in self.commands(STARTS[0]) for o in ray_starts(c) if "--head" in o), {})

    @cached_property
    def head_resources(self) -> dict[str, float | None]:
        """CPU, GPU and hsfm_driver of the head; None = Ray counts what is there."""
        if self.is_local:
            named = resources_of(self.head_start)
            cpu, gpu = self.head_start.get("--num-cpus"), self.head_start.get("--num-gpus")
            return {"CPU": number(cpu), "GPU": number(gpu), "hsfm_driver": named.get("hsfm_driver", 0.0)}
        given = mapping(self.node_types.get(self.head_name, {}).get("resources"))
        return {
            "CPU": number(given.get("CPU")),
            "GPU": number(given.get("GPU")),
            "hsfm_driver": number(given.get("hsfm_driver")) or 0.0,
        }


def read_cluster_file(path: Path) -> ClusterFile:
    """Read a cluster file.

    Raises:
        ConfigError: it is not there, or not YAML with keys.
    """
    text = read_text(path)
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}; mend that line") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path} holds no keys; give a file for `ray up`, such as the packaged cluster.yaml")
    return ClusterFile(path, text, config, tested_versions())


def tested_versions() -> Mapping[str, str]:
    """Of constraints.txt beside the project, else those installed here: what `ray up` is called with must agree too."""
    if tested := read_wishes().tested:
        return tested
    import importlib.metadata

    return {"ray": importlib.metadata.version("ray")}


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; give a cluster file (.yaml) or a batch script") from error


def ray_starts(command: str) -> Iterator[dict[str, str]]:
    """The options of each `ray start` in a shell command; one without a value has ""."""
    for part in re.split(r"[;\n]|&&|\|\|", command):
        try:
            words = shlex.split(part)
        except ValueError:
            words = part.split()
        starts = [i for i, word in enumerate(words[:-1]) if word.split("/")[-1] == "ray" and words[i + 1] == "start"]
        if not starts:
            continue
        options: dict[str, str] = {}
        rest = words[starts[0] + 2 :]
        for i, word in enumerate(rest):
            if word.startswith("--"):
                name, is_joined, value = word.partition("=")
                follows = rest[i + 1] if i + 1 < len(rest) and not rest[i + 1].startswith("-") else ""
                options[name] = value if is_joined else follows
        yield options


def resources_of(options: Mapping[str, str]) -> dict[str, float]:
    """Custom resources that a `ray start` declares."""
    try:
        given = json.loads(options.get("--resources", "{}"))
    except json.JSONDecodeError:
        return {}
    return {str(k): float(v) for k, v in mapping(given).items() if isinstance(v, int | float)}


def mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is a mapping, else an empty one: mistakes of form are Ray's schema's to tell."""
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """The value as a number; None where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def in_order(found: Iterable[Finding], looked_at: Iterable[str]) -> list[Finding]:
    """Findings by check; a check without one is ok."""
    found = list(found)
    ordered: list[Finding] = []
    for name in looked_at:
        ordered += [one for one in found if one.check == name] or [Finding(name, "ok", "nothing to mend")]
    return [one.masked() for one in ordered]
