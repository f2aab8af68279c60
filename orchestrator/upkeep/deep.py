"""What only a running Ray can tell: the nodes, their versions, and whether they share the storage and reach MLflow."""

from __future__ import annotations

import platform
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.config import GridConfig
from orchestrator.errors import FeasibilityError
from orchestrator.ledger.mlflow_store import MlflowStore
from orchestrator.plan.resources import feasibility
from orchestrator.plan.shapes import shapes_of_networks
from orchestrator.upkeep import tracking_server
from orchestrator.upkeep.findings import Finding, Subject

TASK_LIMIT_S = 120
COMPARED = ("python", "ray", "torch", "hsfm-sweep")


def opens_in_mlflow(subject: Subject) -> Iterator[Finding]:
    """The store, opened by MLflow's own client."""
    location = subject.location()
    if location.database is not None and not location.database.exists():
        return
    MlflowStore(location).find_experiment(subject.grid.name if subject.grid else "Default")
    yield Finding("MLflow client", "ok", f"opens {location.tracking_uri}")


def ray_nodes(subject: Subject) -> Iterator[Finding]:
    """Start or join Ray, and run one small task on every node."""
    from orchestrator.execution import cluster

    grid = subject.grid or GridConfig()
    execution = grid.execution
    sizes = [shape.workers for shape in shapes_of_networks(grid, 0)]
    try:
        with cluster.ray_session(execution, min(sizes), max(sizes)) as capacity:
            where = "started here" if capacity.is_local else "joined"
            yield Finding(
                "Ray cluster",
                "ok",
                f"{where}: {cluster.node_count()} nodes, {capacity.cpus:g} CPUs, {capacity.gpus:g} GPUs",
            )
            if not capacity.has_driver_nodes:
                text = (
                    f"no node declares {cluster.DRIVER_RESOURCE}: trial drivers may land on nodes that are taken away"
                )
                mend = f"on safe nodes: ray start ... --resources='{{\"{cluster.DRIVER_RESOURCE}\": 1000}}'"
                yield Finding("driver nodes", "warning", text, mend)
            try:
                shapes = shapes_of_networks(grid, capacity.gpus)
                cluster.room_for(shapes, execution, capacity)
                text = feasibility(shapes, execution, capacity.cpus, capacity.gpus)[1]
                yield Finding("worker groups", "ok", text)
            except FeasibilityError as error:
                yield Finding("worker groups", "failure", str(error), "execution.groups=0 takes as many as fit")
            yield from _nodes(subject)
    except (RuntimeError, ConnectionError, TimeoutError) as error:  # versions that differ are a RuntimeError of Ray's
        text = f"Ray cannot be started or joined: {str(error).strip()[:500]}"
        yield Finding("Ray cluster", "failure", text, "the same Python and ray on every node; RAY_ADDRESS unset = here")


def _nodes(subject: Subject) -> Iterator[Finding]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    marker, word = f".hsfm-doctor-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    storage = subject.storage if subject.grid else ""
    problem = put(storage, marker, word) if storage else ""
    if problem:
        yield Finding("shared storage", "failure", f"{storage}: {problem}", "see the check of storage")
        storage = ""
    uri = subject.location().tracking_uri
    address = tracking_server.address_for_nodes(uri)
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    task = ray.remote(look_from_node)
    asked = {
        node["NodeManagerAddress"] + " " + node["NodeID"][:6]: task.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(storage, marker, word, address)
        for node in nodes
    }
    answers: dict[str, dict[str, Any]] = {}
    for name, reference in asked.items():
        try:
            answers[name] = ray.get(reference, timeout=TASK_LIMIT_S)
        except Exception as error:  # whatever a node lacks: the text names it
            said = str(error).strip().splitlines()[-1][:300]
            mend = "install hsfm-sweep there, of this version: pip install hsfm-sweep -c constraints.txt"
            yield Finding(f"node {name}", "failure", f"a small task fails there: {said}", mend)
    if storage:
        written = {name: marker_of(marker, name_of(answer)) for name, answer in answers.items()}
        yield from _shared(storage, answers, written)
        clean(storage, [marker, *written.values()])
    yield from tracking_server.seen_from_nodes(uri, {name: answer["mlflow"] for name, answer in answers.items()})
    yield from compare_versions(answers, versions_here())


def _shared(storage: str, answers: Mapping[str, Mapping[str, Any]], written: Mapping[str, str]) -> Iterator[Finding]:
    bad = {name: answer["storage"] for name, answer in answers.items() if answer["storage"]}
    for name, answer in answers.items():
        if name not in bad and get(storage, written[name]) != answer["id"]:
            bad[name] = "the file that it wrote is not seen from here"
    for name, problem in bad.items():
        mend = "execution.storage_path=FOLDER_THAT_ALL_NODES_SHARE (or s3://BUCKET/PREFIX)"
        yield Finding(f"storage from node {name}", "failure", f"{storage}: {problem}", mend)
    if answers and not bad:
        nodes = "the node" if len(answers) == 1 else f"all {len(answers)} nodes"
        yield Finding("shared storage", "ok", f"{nodes} and this process see the same files in {storage}")


def compare_versions(answers: Mapping[str, Mapping[str, Any]], here: Mapping[str, str]) -> Iterator[Finding]:
    """Node by node: versions that differ from the driver's compute other numbers, or cannot talk at all."""
    for name, answer in answers.items():
        there = answer["versions"]
        other = [
            f"{what} {there.get(what) or 'absent'} instead of {here[what]}"
            for what in COMPARED
            if there.get(what) != here[what]
        ]
        if other:
            mend = "install there what is installed here: pip install -c constraints.txt hsfm-sweep"
            yield Finding(f"node {name}", "failure", f"other versions than here: {', '.join(other)}", mend)
        else:
            yield Finding(f"node {name}", "ok", ", ".join(f"{what} {there[what]}" for what in COMPARED))


def look_from_node(storage: str, marker: str, word: str, address: str = "") -> dict[str, Any]:
    """Runs on a node: versions, whether it reads what the driver wrote and can write itself, and reaches MLflow."""
    own = uuid.uuid4().hex
    host = f"{socket.gethostname()}-{own[:8]}"
    problem = ""
    if storage:
        seen = get(storage, marker)
        problem = "" if seen == word else "the file that the driver wrote is not there"
        problem = problem or put(storage, marker_of(marker, host), own)
    mlflow = tracking_server.from_node(address) if address else ""
    return {"versions": versions_here(), "host": host, "id": own, "storage": problem, "mlflow": mlflow}


def versions_here() -> dict[str, str]:
    """Versions that must agree."""
    import importlib.metadata

    found = {"python": platform.python_version()}
    for name in COMPARED[1:]:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def name_of(answer: Mapping[str, Any]) -> str:
    """A node's own name in file names."""
    return str(answer["host"])


def marker_of(marker: str, host: str) -> str:
    """Name of the file that a node writes."""
    return f"{marker}-{host}"


def _open(storage: str) -> tuple[Any, str]:
    from pyarrow import fs

    return fs.FileSystem.from_uri(storage) if "://" in storage else (fs.LocalFileSystem(), storage)


def put(storage: str, name: str, word: str) -> str:
    """Write a small file into the storage: what went wrong, "" = nothing."""
    try:
        system, root = _open(storage)
        if "://" not in storage:
            system.create_dir(root, recursive=True)
        with system.open_output_stream(f"{root.rstrip('/')}/{name}") as stream:
            stream.write(word.encode())
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def get(storage: str, name: str) -> str:
    """The content of a small file; "" where it is not there."""
    try:
        system, root = _open(storage)
        with system.open_input_stream(f"{root.rstrip('/')}/{name}") as stream:
            return str(stream.read().decode())
    except (OSError, ValueError):
        return ""


def clean(storage: str, names: Sequence[str]) -> None:
    """Delete small files; absent ones are no matter."""
    system, root = _open(storage)
    for name in names:
        try:
            system.delete_file(f"{root.rstrip('/')}/{name}")
        except OSError:
            continue
