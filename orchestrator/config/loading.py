"""Read a grid: packaged or the user's own file, with `key=value` overrides.

YAML is data here: no resolver runs, so a grid cannot read the environment, files or code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from orchestrator.config.schema import BlockConfig, GridConfig, TrainConfig
from orchestrator.config.validation import validate, validate_train
from orchestrator.errors import ConfigError, unknown

GRID_FOLDER = resources.files("orchestrator") / "grids"
SUFFIXES = (".yaml", ".yml")


def list_grids() -> tuple[str, ...]:
    """Names of the packaged grids, sorted."""
    return tuple(sorted(item.name[: -len(".yaml")] for item in GRID_FOLDER.iterdir() if item.name.endswith(".yaml")))


def load_grid(name_or_path: str, overrides: Sequence[str] = ()) -> GridConfig:
    """The grid of that name or file, overrides applied, every value checked.

    Args:
        name_or_path: a packaged grid's name, or the path of a YAML file.
        overrides: `key=value` texts; the value is YAML, so lists and mappings work: `label_budgets=[0.05,0.1]`.

    Raises:
        ConfigError: unknown grid, key or value, a value of another type, or a file that cannot be read.
    """
    text, source, folder = _read(name_or_path)
    try:
        raw = OmegaConf.create(text) if text.strip() else OmegaConf.create({})
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"grid {source} is not valid YAML: {_one_line(error)}; mend the file") from error
    if not isinstance(raw, DictConfig):
        raise ConfigError(
            f"grid {source} is a list or a single value; allowed: a mapping of settings such as 'seeds: 3'"
        )
    if folder is not None and "name" not in raw:
        raw["name"] = Path(source).stem
    _apply_overrides(raw, overrides)
    _refuse_resolvers(OmegaConf.to_container(raw, resolve=False), "")
    grid = _to_grid(raw, source)
    if folder is not None:
        _locate_dataset_files(grid, folder)
    validate(grid)
    for index, block in enumerate(grid.blocks):
        validate_train(block_train(grid.train, block, f"blocks[{index}]"), f"blocks[{index}].train")
    return grid


def block_train(train: TrainConfig, block: BlockConfig, where: str = "a block") -> TrainConfig:
    """The training settings of a block: the grid's, with what the block changes.

    Raises:
        ConfigError: an unknown key or a value of another type in the block's `train`.
    """
    if not block.train:
        return train
    _check_keys(block.train, TrainConfig, f"{where}.train.")
    try:
        merged = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(train), block.train))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{where}.train: {_one_line(error)}; change it in the grid") from error
    assert isinstance(merged, TrainConfig)
    return merged


def _read(name_or_path: str) -> tuple[str, str, Path | None]:
    """Text of the grid, what to call it in messages, and the folder of the user's file (None for packaged ones)."""
    if name_or_path in list_grids():
        return (GRID_FOLDER / f"{name_or_path}.yaml").read_text("utf-8"), repr(name_or_path), None
    path = Path(name_or_path)
    if not path.suffix.lower() in SUFFIXES and not path.is_file():
        raise unknown("grid", name_or_path, list_grids(), hint="Give one of these names or the path of a .yaml file.")
    try:
        return path.read_text("utf-8"), str(path), path.resolve().parent
    except FileNotFoundError:
        names = ", ".join(list_grids())
        raise ConfigError(f"grid file {str(path)!r} does not exist; allowed: a YAML file or one of {names}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"grid file {str(path)!r} cannot be read: {error}; give a readable YAML file") from error


def _apply_overrides(raw: DictConfig, overrides: Sequence[str]) -> None:
    for override in overrides:
        key, separator, _ = override.partition("=")
        if not separator or not key.strip():
            raise ConfigError(
                f"override {override!r} is not understood; allowed: key=value, for example seeds=5 or "
                "label_budgets=[0.05,0.1]; see the keys with `hsfm-sweep plan --help`"
            )
        try:
            value = OmegaConf.to_container(OmegaConf.create(f"value: {override[len(key) + 1 :]}"), resolve=False)
            assert isinstance(value, dict)
            _check_override_key(raw, key.strip())
            # merge=False: a list or mapping given on the command line replaces the grid's, it is not mixed with it
            OmegaConf.update(raw, key.strip(), value["value"], merge=False)
        except (YAMLError, OmegaConfBaseException, AssertionError, TypeError, ValueError, IndexError) as error:
            raise ConfigError(
                f"override {override!r} cannot be applied: {_one_line(error)}; allowed: key=value with a YAML value"
            ) from error


def _check_override_key(raw: DictConfig, key: str) -> None:
    """Refuse an unknown key before it creates a mapping in the wrong place."""
    schema: Any = GridConfig
    known_prefix = ""
    for part in key.split("."):
        name = part.partition("[")[0]
        if schema is None:
            return
        known = [f.name for f in fields(schema)]
        if name not in known:
            raise unknown("key", f"{known_prefix}{name}", [f"{known_prefix}{k}" for k in known])
        schema = _nested(schema, name)
        known_prefix += f"{part}."


def _to_grid(raw: DictConfig, source: str) -> GridConfig:
    plain = OmegaConf.to_container(raw, resolve=False)
    _check_keys(plain, GridConfig, "")
    try:
        grid = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(GridConfig), raw))
    except OmegaConfBaseException as error:
        raise ConfigError(f"grid {source}: {_one_line(error)}; change it in the grid or with key=value") from error
    assert isinstance(grid, GridConfig)
    return grid


def _check_keys(value: Any, schema: Any, prefix: str) -> None:
    """Unknown keys, with the nearest known one; OmegaConf's own words would not show the others."""
    if not isinstance(value, Mapping):
        return
    known = [f.name for f in fields(schema)]
    for key, inner in value.items():
        if key not in known:
            raise unknown("key", f"{prefix}{key}", [f"{prefix}{k}" for k in known])
        nested = _nested(schema, str(key))
        for where, item in _items(inner, f"{prefix}{key}"):
            if nested is not None:
                _check_keys(item, nested, f"{where}.")


def _nested(schema: Any, name: str) -> Any:
    """The schema of a key that holds settings of its own, else None (free-form values)."""
    if schema is GridConfig and name == "blocks":
        return BlockConfig
    if schema is BlockConfig and name == "train":
        return TrainConfig
    default = getattr(schema(), name)
    return type(default) if is_dataclass(default) else None


def _items(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        yield from ((f"{where}[{index}]", item) for index, item in enumerate(value))
    else:
        yield where, value


def _refuse_resolvers(value: Any, where: str) -> None:
    """Only `${other.key}` may be interpolated: a colon means a resolver, and those reach outside of the file."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_resolvers(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_resolvers(inner, f"{where}[{index}]")
    elif isinstance(value, str) and ":" in value.partition("${")[2]:
        raise ConfigError(
            f"{where} is {value!r}, which calls a resolver; allowed: plain values and ${{other.key}}; "
            "write the value itself, or give it as key=value on the command line"
        )


def _locate_dataset_files(grid: GridConfig, folder: Path) -> None:
    """Make paths of data set files absolute: beside the grid file first, then from the current folder."""
    for owner in (grid, *grid.blocks):
        owner.datasets = [
            str(folder / name) if name.endswith(SUFFIXES) and (folder / name).is_file() else name
            for name in owner.datasets
        ]


def _one_line(error: BaseException) -> str:
    """OmegaConf's and YAML's texts on one line, with the key they mean."""
    key = getattr(error, "full_key", None)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type=")))
    return f"{key}: {text}" if key else text
