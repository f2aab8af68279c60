"""Somebody else's work: `neighbour.py ADDRESS CPUS`, run on the head, holds CPUs until its input is closed."""

from __future__ import annotations

import sys

import ray


class Work:
    def begin(self) -> str:
        return "holds"


def main() -> None:
    address, cpus = sys.argv[1], int(sys.argv[2])
    ray.init(address="auto", log_to_driver=False, namespace="neighbour")
    work = ray.remote(Work).options(num_cpus=cpus, resources={f"node:{address}": 0.001}).remote()
    print(ray.get(work.begin.remote()), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
