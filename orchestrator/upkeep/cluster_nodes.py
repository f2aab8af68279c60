"""What a cluster file says of its nodes: who drives, who trains, who may be taken back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.upkeep.cluster_file import STARTS, ClusterFile, mapping, number, ray_starts, resources_of
from orchestrator.upkeep.findings import Finding

CLOUDS = ("aws", "gcp", "azure")


def whole_resources(file: ClusterFile) -> Iterator[Finding]:
    """Nodes have whole devices; a share of one is asked for by the sweep, and by groups of one worker only."""
    declared: dict[str, Mapping[str, Any]] = {
        f"available_node_types.{name}.resources": mapping(node.get("resources"))
        for name, node in file.node_types.items()
    }
    for command in file.commands(*STARTS):
        for options in ray_starts(command):
            found = {word[len("--num-") :]: options[word] for word in ("--num-cpus", "--num-gpus") if word in options}
            declared["`ray start`"] = {**declared.get("`ray start`", {}), **found, **resources_of(options)}
    for where, resources in declared.items():
        for name, value in resources.items():
            if (amount := number(value)) is not None and amount != int(amount):
                yield Finding(
                    "whole resources",
                    "failure",
                    f"{where} declares {name}: {value}; a node has whole ones",
                    "declare what the machine has, a whole number; several runs share a GPU by "
                    "execution.gpus_per_worker=0.5 on the command line, with train.world_size=1",
                )
    yield from shared_gpus(file.text)


def shared_gpus(text: str) -> Iterator[Finding]:
    """Commands in a file that give each worker of a larger group a share of a GPU."""
    for line in re.sub(r"\\\n\s*#?", " ", text).splitlines():
        share = re.search(r"gpus_per_worker=(0?\.\d+)", line)
        workers = re.search(r"world_size=(\d+)", line)
        if share and workers and int(workers[1]) > 1:
            yield Finding(
                "whole resources",
                "failure",
                f"execution.gpus_per_worker={share[1]} with train.world_size={workers[1]}: two workers of a group "
                "would share one GPU, which NCCL refuses",
                f"execution.gpus_per_worker=1 train.world_size={workers[1]}, or a share with train.world_size=1",
            )


def driver_nodes(file: ClusterFile) -> Iterator[Finding]:
    """Trial drivers go where `hsfm_driver` is declared: on the head, and nowhere else."""
    if not file.head_resources["hsfm_driver"]:
        where = "--resources='{\"hsfm_driver\": 1000}'" if file.is_local else "hsfm_driver: 1000"
        place = "`ray start --head`" if file.is_local else f"available_node_types.{file.head_name}.resources"
        yield Finding(
            "driver node",
            "failure",
            "the head declares no hsfm_driver, so trial drivers may land on nodes that are taken back",
            f"add {where} to {place}",
        )
    for name, node in file.workers.items():
        if number(mapping(node.get("resources")).get("hsfm_driver")):
            yield Finding(
                "driver node",
                "failure",
                f"workers of type {name} declare hsfm_driver: a driver there dies with its node",
                f"take hsfm_driver out of available_node_types.{name}.resources",
            )


def idle_head(file: ClusterFile) -> Iterator[Finding]:
    """The head holds drivers, ledger and MLflow; a training there can take all of it down."""
    resources = file.head_resources
    trained_on = [name for name in ("CPU", "GPU") if resources[name] is None or float(resources[name] or 0) > 0]
    if not trained_on:
        return
    counted = [f"{name}: {'counted by Ray' if (r := resources[name]) is None else f'{r:g}'}" for name in trained_on]
    mend = "--num-cpus=0 --num-gpus=0 in `ray start --head`" if file.is_local else "resources: {CPU: 0, GPU: 0} for it"
    is_meant = file.is_local and bool(resources["hsfm_driver"])
    yield Finding(
        "idle head",
        "warning" if is_meant else "failure",
        f"runs would train on the head ({', '.join(counted)}): one that takes all memory ends the sweep",
        f"set {mend}" + (", unless its processors are needed" if is_meant else ""),
    )


def prices(file: ClusterFile) -> Iterator[Finding]:
    """The head is never spot; workers come from none and are ended, not stopped."""
    if file.is_local or file.provider.get("type") not in CLOUDS:
        return
    head = mapping(file.node_types.get(file.head_name, {}).get("node_config"))
    if _is_spot(head):
        yield Finding(
            "head on demand",
            "failure",
            f"the head ({file.head_name}) is a spot node: when it is taken back the sweep stops",
            f"take the spot setting out of available_node_types.{file.head_name}.node_config",
        )
    for name, node in file.workers.items():
        if number(node.get("min_workers")) not in (0, None):
            yield Finding(
                "workers from none",
                "warning",
                f"{node['min_workers']} nodes of type {name} are paid for while nothing runs",
                f"available_node_types.{name}.min_workers: 0",
            )
    if file.provider.get("cache_stopped_nodes", True):
        yield Finding(
            "workers from none",
            "warning",
            "nodes are stopped and not ended (provider.cache_stopped_nodes): their disks are paid for",
            "provider.cache_stopped_nodes: false",
        )


def _is_spot(node: Mapping[str, Any]) -> bool:
    """Whether a node can be taken back: the settings of AWS, GCP and Azure."""
    scheduling = node.get("scheduling")
    google = [mapping(one) for one in scheduling] if isinstance(scheduling, list) else [mapping(scheduling)]
    azure = mapping(mapping(node.get("azure_arm_parameters"))).get("priority")
    return (
        str(mapping(node.get("InstanceMarketOptions")).get("MarketType", "")).lower() == "spot"
        or any(one.get("preemptible") is True or one.get("provisioningModel") == "SPOT" for one in google)
        or str(azure).lower() == "spot"
    )
