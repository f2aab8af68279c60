"""Read a grid: packaged or the user's own file, with `key=value` overrides.

YAML is data here: no resolver runs, so a grid cannot read the environment, files or code.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from orchestrator.config.schema import BlockConfig, GridConfig, TrainConfig
from orchestrator.config.validation import validate, validate_train
from orchestrator.errors import ConfigError, unknown

GRID_FOLDER = resources.files("orchestrator") / "grids"
PROTOCOL_FOLDER = resources.files("orchestrator") / "protocols"
SUFFIXES = (".yaml", ".yml")
MOST_NODES = 200_000
"""Values of a grid, aliases expanded: room for a grid of ten thousand strategies, none for a YAML bomb."""
TYPE_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    list: "a list, such as [a, b]",
    dict: "a mapping of settings",
}


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
        raw = OmegaConf.create(text if text.strip() else "{}", max_yaml_expanded_nodes=MOST_NODES)
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"grid {source} is not valid YAML: {_one_line(error)}; mend the file") from error
    if not isinstance(raw, DictConfig):
        allowed = "a mapping of settings such as 'seeds: 3'"
        raise ConfigError(f"grid {source} is a list or a single value; allowed: {allowed}; mend the file")
    if folder is not None and "name" not in raw:
        raw["name"] = Path(source).stem
    _apply_overrides(raw, overrides)
    raw = _on_protocol(raw)
    _refuse_resolvers(OmegaConf.to_container(raw, resolve=False), "")
    grid = _to_grid(raw, source)
    if grid.execution.storage_path.startswith("~"):
        grid.execution.storage_path = os.path.expanduser(grid.execution.storage_path)
    if folder is not None:
        _locate_dataset_files(grid, folder)
    validate(grid)
    for index, block in enumerate(grid.blocks):
        validate_train(block_train(grid.train, block, f"blocks[{index}]"), f"blocks[{index}].train")
    return grid


def list_protocols() -> tuple[str, ...]:
    """Names of the packaged protocols, sorted."""
    return tuple(
        sorted(item.name[: -len(".yaml")] for item in PROTOCOL_FOLDER.iterdir() if item.name.endswith(".yaml"))
    )


def _on_protocol(raw: DictConfig) -> DictConfig:
    """The grid's settings, over those of its protocol."""
    name = raw.get("protocol")
    if not name:
        return raw
    if name not in list_protocols():
        raise unknown("protocol", str(name), list_protocols())
    base = OmegaConf.create((PROTOCOL_FOLDER / f"{name}.yaml").read_text("utf-8"))
    merged = OmegaConf.merge(base, raw)
    assert isinstance(merged, DictConfig)
    return merged


def block_train(train: TrainConfig, block: BlockConfig, where: str = "a block") -> TrainConfig:
    """The training settings of a block: the grid's, with what the block changes.

    Raises:
        ConfigError: an unknown key or a value of another type in the block's `train`.
    """
    if not block.train:
        return train
    _check_keys(block.train, TrainConfig, f"{where}.train")
    try:
        merged = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(train), block.train))
    except OmegaConfBaseException as error:
        raise _type_error(error, OmegaConf.create(block.train), TrainConfig, f"{where}.train") from error
    assert isinstance(merged, TrainConfig)
    return merged


def _read(name_or_path: str) -> tuple[str, str, Path | None]:
    """Text of the grid, what to call it in messages, and the folder of the user's file (None for packaged ones)."""
    if name_or_path in list_grids():
        return (GRID_FOLDER / f"{name_or_path}.yaml").read_text("utf-8"), repr(name_or_path), None
    path = Path(name_or_path)
    if path.suffix.lower() not in SUFFIXES and not path.is_file():
        raise unknown("grid", name_or_path, list_grids(), hint="Give one of these names or the path of a .yaml file.")
    try:
        return path.read_text("utf-8"), str(path), path.resolve().parent
    except FileNotFoundError:
        names = ", ".join(list_grids())
        raise ConfigError(f"grid file {str(path)!r} does not exist; allowed: a YAML file or one of {names}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"grid file {str(path)!r} cannot be read: {error}; give a readable YAML file") from error


def apply_overrides(settings: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Settings of a grid with `key=value` overrides applied, as plain data; nothing else is checked.

    Raises:
        ConfigError: an unknown key, or an override that is not understood.
    """
    raw = OmegaConf.create(dict(settings))
    _apply_overrides(raw, overrides)
    found = OmegaConf.to_container(raw, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


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
            _check_override_key(key.strip())
            # merge=False: a list or mapping given on the command line replaces the grid's, it is not mixed with it
            OmegaConf.update(raw, key.strip(), value["value"], merge=False)
        except (YAMLError, OmegaConfBaseException, AssertionError, TypeError, ValueError, IndexError) as error:
            raise ConfigError(
                f"override {override!r} cannot be applied: {_one_line(error)}; allowed: key=value with a YAML value"
            ) from error


def _check_override_key(key: str) -> None:
    """Refuse an unknown key before it creates a mapping in the wrong place."""
    schema: Any = GridConfig
    where = ""
    for part in key.split("."):
        name = part.partition("[")[0]
        if schema is None:
            return
        _check_name(name, schema, where)
        schema = _nested(schema, name)
        where = f"{where}.{part}" if where else part


def _to_grid(raw: DictConfig, source: str) -> GridConfig:
    _check_keys(OmegaConf.to_container(raw, resolve=False), GridConfig, "")
    try:
        grid = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(GridConfig), raw))
    except OmegaConfBaseException as error:
        raise _type_error(error, raw, GridConfig, f"grid {source}") from error
    assert isinstance(grid, GridConfig)
    return grid


def _check_keys(value: Any, schema: Any, where: str) -> None:
    """Unknown keys, with the nearest known one and all others; lists and mappings where the other was given."""
    if not isinstance(value, Mapping):
        raise _wrong_type(where, value, "a mapping of settings")
    hints = get_type_hints(schema)
    for key, inner in value.items():
        _check_name(str(key), schema, where)
        nested = _nested(schema, str(key))
        path = f"{where}.{key}" if where else str(key)
        if get_origin(hints[key]) is list and not isinstance(inner, list):
            raise _wrong_type(path, inner, TYPE_WORDS[list])
        if nested is BlockConfig:
            for index, block in enumerate(inner):
                _check_keys(block, BlockConfig, f"{path}[{index}]")
        elif nested is not None:
            _check_keys(inner, nested, path)


def _check_name(name: str, schema: Any, where: str) -> None:
    known = [f.name for f in fields(schema)]
    if name not in known:
        raise unknown(f"key of {where}" if where else "key", name, known)


def _nested(schema: Any, name: str) -> Any:
    """The schema of a key that holds settings of its own, else None (free-form values)."""
    if schema is GridConfig and name == "blocks":
        return BlockConfig
    if schema is BlockConfig and name == "train":
        return TrainConfig
    default = getattr(schema(), name)
    return type(default) if is_dataclass(default) else None


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
    axes: list[GridConfig | BlockConfig] = [grid, *grid.blocks]
    for axis in axes:
        axis.datasets = [
            str(folder / name) if name.endswith(SUFFIXES) and (folder / name).is_file() else name
            for name in axis.datasets
        ]


def _type_error(error: OmegaConfBaseException, raw: DictConfig, schema: Any, source: str) -> ConfigError:
    """A value of the wrong type: OmegaConf's key, the value that was given and the type in plain words."""
    key = str(getattr(error, "full_key", None) or "")
    *parents, last = key.replace("[", ".").split(".")
    for name in parents:
        known = schema is not None and name in {f.name for f in fields(schema)}
        schema = _nested(schema, name) if known else schema
    declared: Any = get_type_hints(schema).get(last) if schema is not None else None
    allowed = TYPE_WORDS.get(get_origin(declared) or declared)
    if allowed is None:
        return ConfigError(f"{source}: {_one_line(error)}; change it in the grid or with key=value")
    value = OmegaConf.to_container(raw, resolve=False)
    for name in (*parents, last):
        value = value[int(name.rstrip("]"))] if isinstance(value, list) else value[name]  # type: ignore[index,call-overload]
    return _wrong_type(key, value, allowed, source)


def _wrong_type(key: str, value: Any, allowed: str, source: str = "") -> ConfigError:
    where = f"{source}: " if source else ""
    return ConfigError(f"{where}{key} is {value!r}; allowed: {allowed}; change it in the grid or with {key}=VALUE")


def _one_line(error: BaseException) -> str:
    """OmegaConf's and YAML's texts on one line, with the key they mean."""
    key = getattr(error, "full_key", None)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type=")))
    return f"{key}: {text}" if key else text
