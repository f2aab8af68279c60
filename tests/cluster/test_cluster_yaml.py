"""cluster.yaml passes Ray's own checks, keeps training off the head, and planted mistakes do not pass."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
Config = dict[str, Any]


class RefusedError(Exception):
    """The cluster file was refused."""


def _check_with_ray(config: Config) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except (Exception, SystemExit) as error:  # Ray exits or raises one of half a dozen types here
        raise RefusedError(str(error)) from error


def _check_with_schema(config: Config) -> None:
    import ray

    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    try:
        jsonschema.validate(config, schema)
    except jsonschema.ValidationError as error:
        raise RefusedError(error.message) from error


def _check(config: Config) -> None:
    """Ray's private checks where this Ray still has them, else the schema file that it ships."""
    try:
        from ray.autoscaler._private.util import prepare_config, validate_config  # noqa: F401
    except ImportError:
        _check_with_schema(config)
    else:
        _check_with_ray(config)


@pytest.fixture
def config() -> Config:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def _workers(config: Config) -> dict[str, Config]:
    return {k: v for k, v in config["available_node_types"].items() if k != config["head_node_type"]}


def _head(config: Config) -> Config:
    return config["available_node_types"][config["head_node_type"]]


def test_ray_accepts_the_cluster_file(config: Config) -> None:
    _check(config)


def test_the_shipped_schema_accepts_the_cluster_file(config: Config) -> None:
    _check_with_schema(config)


def _misspelt_key(config: Config) -> None:
    config["max_worker"] = config.pop("max_workers")


def _fractional_resource(config: Config) -> None:
    config["available_node_types"]["gpu.spot"]["resources"]["GPU"] = 0.5


def _head_of_unknown_type(config: Config) -> None:
    config["head_node_type"] = "head.spot"


def _no_head_type(config: Config) -> None:
    del config["head_node_type"]


def _more_minimum_than_maximum(config: Config) -> None:
    config["available_node_types"]["gpu.spot"]["min_workers"] = 9


def _setting_of_old_ray(config: Config) -> None:
    config["initial_workers"] = 2


def _label_that_is_no_text(config: Config) -> None:
    config["available_node_types"]["gpu.spot"]["labels"] = {"hsfm/market": 1}


def _unknown_docker_key(config: Config) -> None:
    config["docker"]["images"] = "x"


def _no_provider(config: Config) -> None:
    del config["provider"]


@pytest.mark.parametrize(
    "plant",
    [
        _misspelt_key,
        _fractional_resource,
        _head_of_unknown_type,
        _no_head_type,
        _more_minimum_than_maximum,
        _setting_of_old_ray,
        _label_that_is_no_text,
        _unknown_docker_key,
        _no_provider,
    ],
)
def test_a_planted_mistake_is_refused(config: Config, plant: Callable[[Config], None]) -> None:
    plant(config)
    with pytest.raises(RefusedError):
        _check(config)


def test_no_training_can_land_on_the_head(config: Config) -> None:
    assert _head(config)["resources"]["CPU"] == 0
    assert _head(config)["resources"]["GPU"] == 0


def test_trial_drivers_find_room_on_the_head_only(config: Config) -> None:
    assert _head(config)["resources"]["hsfm_driver"] > 0
    assert all("hsfm_driver" not in worker["resources"] for worker in _workers(config).values())


def test_the_head_is_on_demand(config: Config) -> None:
    assert "InstanceMarketOptions" not in _head(config)["node_config"]


def test_workers_are_spot_nodes_with_a_gpu_that_start_from_none(config: Config) -> None:
    for worker in _workers(config).values():
        assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
        assert worker["resources"]["GPU"] >= 1
        assert worker["min_workers"] == 0


def test_images_pin_the_ray_version_of_the_constraints(config: Config) -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for name in ("head_image", "worker_image"):
        assert config["docker"][name].split(":")[1].startswith(f"{pins['ray']}-py311")


def test_setup_never_falls_back_to_rays_default_wheel(config: Config) -> None:
    from ray.autoscaler._private.util import prepare_config

    assert config["setup_commands"]
    commands = prepare_config(copy.deepcopy(config))["setup_commands"]
    assert not any("ray-wheels" in command or "nightly" in command for command in commands)


def test_stopped_nodes_are_not_kept_and_billed(config: Config) -> None:
    assert config["provider"]["cache_stopped_nodes"] is False


def test_the_dashboard_listens_on_the_loopback_only(config: Config) -> None:
    start = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start


def test_all_nodes_see_the_shared_file_system(config: Config) -> None:
    assert any("/mnt/shared" in command for command in config["initialization_commands"])
    assert any(option.startswith("-v /mnt/shared") for option in config["docker"]["run_options"])
