"""HyperSIGMA's two published files as one, for `branches: both`: a strategy is filled from one file.

python -m strategies.backbones.hypersigma_join SPATIAL_FILE SPECTRAL_FILE OUT.safetensors [--size base|large]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from strategies._checks import StrategyError
from strategies.backbones._keys import map_keys
from strategies.backbones._loading import fit, make_architecture
from strategies.backbones._places import damage
from strategies.backbones._reading import read_checkpoint
from strategies.backbones._weights import get_spec


def join_branches(spatial_file: Path, spectral_file: Path, out: Path, *, size: str = "base") -> int:
    """Write the encoders of both files, under `spatial.` and `spectral.`, to one safetensors file.

    Args:
        spatial_file: as published.
        spectral_file: as published.
        out: a new file.
        size: base or large.

    Returns:
        Number of tensors written.

    Raises:
        StrategyError: a file that is not the published one, or an `out` that exists or is no .safetensors file.
    """
    from safetensors.torch import save_file

    if out.suffix != ".safetensors" or out.exists():
        raise StrategyError(f"{out} cannot be written; allowed: a new file named *.safetensors; give another name")
    tensors = {}
    for file, branch, prefix in ((spatial_file, "spat", "spatial"), (spectral_file, "spec", "spectral")):
        spec = get_spec(f"hypersigma_{branch}_{size}")
        if not file.is_file():
            raise StrategyError(
                f"weights {spec.name!r}: {file} is not a file; run `hsfm-sweep weights fetch {spec.name}`"
            )
        checkpoint = read_checkpoint(file, spec)
        found = fit(checkpoint, make_architecture(spec, on_meta=True).state_dict(), spec)
        problem = damage(spec, file) or (found.problems and f"weights {spec.name!r}: {file}: {found.problems}")
        if problem:
            raise StrategyError(f"{problem}; fetch the published file")
        mapped = map_keys(checkpoint.tensors, spec, are_stripped=checkpoint.is_converted).mapped
        tensors.update({f"{prefix}.{new}": checkpoint.tensors[old].contiguous() for old, new in mapped.items()})
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(out))
    return len(tensors)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 1 where a file does not fit."""
    parser = argparse.ArgumentParser(description="Join HyperSIGMA's two published files into one.")
    for name in ("spatial_file", "spectral_file", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--size", choices=("base", "large"), default="base")
    given = parser.parse_args(arguments)
    try:
        count = join_branches(given.spatial_file, given.spectral_file, given.out, size=given.size)
    except StrategyError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{count} tensors written to {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
