"""Where the hub runs and how it is found; which of the cluster's nodes are gone or about to go."""

from __future__ import annotations

from typing import Any

import ray

from orchestrator.execution.hub import Hub

NAMESPACE = "hsfm-sweep"
HUB_NAME = "hub"


def start_hub() -> Any:
    """Start the hub on the node of the calling driver; a handle to it."""
    node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    actor = ray.remote(Hub).options(
        name=HUB_NAME, namespace=NAMESPACE, num_cpus=0, max_concurrency=10_000, scheduling_strategy=node
    )
    return actor.remote(taken_nodes)


def find_hub() -> Any:
    """The hub's handle, from a worker or a trial driver."""
    return ray.get_actor(HUB_NAME, namespace=NAMESPACE)


def taken_nodes() -> set[str]:
    """Ids of the nodes that are dead or draining."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {str(node["NodeID"]) for node in nodes if not node["Alive"]} | draining_nodes()


def draining_nodes() -> set[str]:
    """Ids of the nodes that were told to go: a spot notice, or an autoscaler that takes them back.

    It is what Ray Train's own `get_preemption_info` looks at. That one is not asked: it is a meeting of all ranks,
    and a resident worker group holds none of Ray Train's meetings.
    """
    try:
        return set(ray._private.state.state.get_draining_nodes())
    except AttributeError:  # a private interface: a Ray without it gives no notice
        return set()
