"""Tells every change of a cluster's nodes as a JSON line, until its input is closed; runs on the head."""

from __future__ import annotations

import json
import select
import sys

import ray

LOOK_EVERY_S = 0.5


def main() -> None:
    ray.init(address="auto", log_to_driver=False, namespace="members")
    told: object = None
    while True:
        nodes = sorted(
            (node["NodeManagerAddress"], node["Resources"].get("CPU", 0.0), node["NodeID"])
            for node in ray.nodes()
            if node["Alive"]
        )
        if nodes != told:
            told = nodes
            print(json.dumps([{"address": a, "cpus": c, "id": i} for a, c, i in nodes]), flush=True)
        if select.select([sys.stdin], [], [], LOOK_EVERY_S)[0]:
            return


if __name__ == "__main__":
    main()
