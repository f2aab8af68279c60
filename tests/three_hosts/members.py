"""Tells every change of a cluster's nodes as a JSON line, until its input is closed; runs on the head."""

from __future__ import annotations

import json
import select
import sys

import ray

LOOK_EVERY_S = 0.5
MARK = "members: "
"""Ray prints messages of its own to the same output."""


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
            members = [{"address": a, "cpus": c, "id": i} for a, c, i in nodes]
            print(MARK + json.dumps(members), flush=True)
        if select.select([sys.stdin], [], [], LOOK_EVERY_S)[0]:
            return


if __name__ == "__main__":
    main()
