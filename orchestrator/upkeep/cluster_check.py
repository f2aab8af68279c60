"""`cluster check`: what Ray's own schema and a sweep's needs say of a cluster file, before anything is paid for."""

from __future__ import annotations

import contextlib
import copy
import difflib
import io
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.upkeep import cluster_nodes, cluster_storage, cluster_versions
from orchestrator.upkeep.batch_script import check_batch_script
from orchestrator.upkeep.cluster_file import ClusterFile, in_order, mapping, read_cluster_file, read_text
from orchestrator.upkeep.findings import RESULTS, Finding

SCHEMA = 1
BATCH_SCRIPTS = (".sbatch", ".slurm", ".sh")
Rule = Callable[[ClusterFile], Iterable[Finding]]
_RULES: tuple[Rule, ...] = (
    cluster_nodes.whole_resources,
    cluster_nodes.driver_nodes,
    cluster_nodes.idle_head,
    cluster_nodes.prices,
    cluster_storage.shared_storage,
    cluster_versions.versions,
    cluster_versions.unpinned_images,
    cluster_versions.installation,
    cluster_storage.dashboards,
    lambda file: cluster_storage.secrets(file.text),
    lambda file: cluster_storage.placeholders(file.text),
)
LOOKED_AT = (
    "keys",
    "Ray's schema",
    "whole resources",
    "driver node",
    "idle head",
    "head on demand",
    "workers from none",
    "shared storage",
    "versions",
    "installation",
    "loopback only",
    "no secrets",
    "placeholders",
)
"""Names of the checks of a cluster file, in order; those without a finding are ok."""


def check_cluster(path: Path) -> list[Finding]:
    """Findings for a file for `ray up`, or for a batch script of Slurm; checks that found nothing say so.

    Raises:
        ConfigError: it cannot be read, or is neither.
    """
    if path.suffix in BATCH_SCRIPTS:
        return check_batch_script(read_text(path))
    file = read_cluster_file(path)
    found = list(wrong_keys(file))
    resources = list(cluster_nodes.whole_resources(file))
    if not found and not resources:  # Ray names the first mistake only, and names these less well
        found += ray_refuses(file)
    for rule in _RULES:
        found += rule(file)
    return in_order(found, LOOKED_AT)


def to_data(path: Path, found: Iterable[Finding]) -> dict[str, Any]:
    """Plain data of a stable form, for `--json`."""
    found = list(found)
    return {
        "schema": SCHEMA,
        "file": str(path),
        "checks": [
            {"check": one.check, "result": one.result, "found": one.found, "mend": one.mend or None} for one in found
        ],
        "totals": {result: sum(one.result == result for one in found) for result in RESULTS},
    }


def wrong_keys(file: ClusterFile) -> Iterator[Finding]:
    """Keys that Ray does not know, with the nearest one that it does."""
    schema = _ray_schema()
    allowed = mapping(schema.get("properties"))
    nodes = mapping(mapping(allowed.get("available_node_types")).get("patternProperties"))
    node = mapping(next(iter(nodes.values()), None))
    places: list[tuple[str, Any, Mapping[str, Any]]] = [("", file.config, schema)]
    places += [(f"{key}.", file.config.get(key), allowed[key]) for key in ("auth", "docker", "provider")]
    places += [(f"available_node_types.{name}.", value, node) for name, value in file.node_types.items()]
    for where, holder, rules in places:
        known = list(mapping(rules.get("properties")))
        if rules.get("additionalProperties") is not False and where != "provider.":
            continue
        extra = ["min_workers"] if file.is_local and not where else []  # Ray reads it there, and takes it out itself
        extra += ["coordinator_address"] if where == "provider." else []
        for key in mapping(holder):
            if key in known or key in extra:
                continue
            near = difflib.get_close_matches(str(key), known, 1)
            is_refused = rules.get("additionalProperties") is False
            yield Finding(
                "keys",
                "failure" if is_refused else "warning",
                f"{where}{key} is no key of Ray's",
                f"did you mean {where}{near[0]}?" if near else f"take it out; allowed: {', '.join(sorted(known))}",
            )


def ray_refuses(file: ClusterFile) -> Iterator[Finding]:
    """Ray's own checks, with its defaults filled in; its schema alone where this Ray has no such checks any more."""
    config = copy.deepcopy(dict(file.config))
    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            _ask_ray(config)
    except (Exception, SystemExit) as error:  # Ray exits, or raises one of half a dozen types
        text = str(getattr(error, "message", "") or error).split("\n")[0]
        path = ".".join(str(part) for part in getattr(error, "absolute_path", ()))
        yield Finding(
            "Ray's schema",
            "failure",
            f"Ray refuses the file{f' at {path}' if path else ''}: {text[:300]}",
            f"mend {path or 'what it names'}; the packaged cluster.yaml shows the form",
        )


def _ask_ray(config: dict[str, Any]) -> None:
    try:
        from ray.autoscaler._private.util import prepare_config, validate_config
    except ImportError:  # private: a Ray without them still ships its schema
        import jsonschema

        jsonschema.validate(config, _ray_schema())
    else:
        validate_config(prepare_config(config))


def _ray_schema() -> Mapping[str, Any]:
    import ray

    path = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    return mapping(json.loads(path.read_text()))
