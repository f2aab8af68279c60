"""The splits of HS3-Bench: by formula where there is one, else by list; each checked against its known hash."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from orchestrator.datasets._base import FoldPlan
from orchestrator.errors import DataError

SEED = 42
SIDES = ("train", "val", "test")
"""As the files of HS3-Bench name them."""


def permutation(count: int, seed: int = SEED) -> list[int]:
    """A seeded permutation of `range(count)` as PyTorch draws it."""
    import torch

    # A generator of its own: the state of PyTorch's global one is left as it is.
    found: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return found


def list_hash(names: Iterable[str], *, ending: str = "", last_newline: bool = True) -> str:
    """SHA-256, first 16 hex digits, of a list file with one name a line."""
    text = "\n".join(f"{name}{ending}" for name in names) + ("\n" if last_newline else "")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_hash(dataset: str, side: str, found: str, expected: str) -> None:
    """Raises DataError where a list is not the published one."""
    if found != expected:
        raise DataError(
            f"dataset {dataset}: the {side} list has the hash {found}, published is {expected}; the files are not "
            "those of the benchmark: compare their names with the published lists, or get them again"
        )


def membership_hash(fold: FoldPlan) -> str:
    """One hash of which image is on which side, whatever the order."""
    sides = (fold.train, fold.validation, fold.test)
    return list_hash("/".join((side, name)) for side, names in zip(SIDES, sides, strict=True) for name in sorted(names))


def fold_of(dataset: str, lists: Mapping[str, Sequence[str]]) -> FoldPlan:
    """A fold of three lists.

    Raises:
        DataError: a name is twice in a list, or in two lists; says which.
    """
    for side, names in lists.items():
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise DataError(
                f"dataset {dataset}: the {side} list names {twice[0]!r} twice"
                f"{_and_more(twice)}; each image belongs there once: correct the list, or get it again"
            )
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        both = sorted({*lists[first]} & {*lists[second]})
        if both:
            raise DataError(
                f"dataset {dataset}: {both[0]!r} is in the {first} and in the {second} list"
                f"{_and_more(both)}; an image belongs to one side: correct the lists, or get them again"
            )
    return FoldPlan(train=tuple(lists["train"]), validation=tuple(lists["val"]), test=tuple(lists["test"]))


def _and_more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def read_list(file: Path) -> list[str]:
    """Names of a list file, endings of cubes cut off."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line.removesuffix(".mat").removesuffix(".hsd").removesuffix("_TC") for line in lines if line]


def read_lists(dataset: str, folder: Path, pattern: str = "{side}.csv") -> FoldPlan:
    """The fold of three list files.

    Raises:
        DataError: a list is absent, names an image twice, or shares one with another list.
    """
    lists = {}
    for side in SIDES:
        file = folder / pattern.format(side=side)
        if not file.is_file():
            raise DataError(f"dataset {dataset}: the split list {file} is absent; run: hsfm-sweep data fetch {dataset}")
        lists[side] = read_list(file)
    return fold_of(dataset, lists)


def hyko2_fold(names: Iterable[str], sizes: tuple[int, int, int] = (81, 32, 49)) -> FoldPlan:
    """HyKo2: consecutive parts of a permutation of the sorted names."""
    ordered = sorted(names)
    drawn = [ordered[index] for index in permutation(len(ordered))]
    first, second = sizes[0], sizes[0] + sizes[1]
    return FoldPlan(train=tuple(drawn[:first]), validation=tuple(drawn[first:second]), test=tuple(drawn[second:]))


HCV2_TRAIN, HCV2_OLD_TRAIN, HCV2_VALIDATION = 949, 527, 105


def hcv2_fold(official_train: Iterable[str], official_test: Iterable[str], protocol: str) -> FoldPlan:
    """HCV2: the official test; validation is cut out of the permuted official train, elsewhere in 2024 than in 2026."""
    ordered = sorted(official_train)
    drawn = [ordered[index] for index in permutation(len(ordered))]
    test = tuple(sorted(official_test))
    if protocol == "2024":
        return FoldPlan(train=tuple(drawn[:HCV2_TRAIN]), validation=tuple(drawn[HCV2_TRAIN:]), test=test)
    first, second = HCV2_OLD_TRAIN, HCV2_OLD_TRAIN + HCV2_VALIDATION
    return FoldPlan(
        train=tuple(sorted([*drawn[:first], *drawn[second:]])), validation=tuple(drawn[first:second]), test=test
    )
