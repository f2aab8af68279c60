import pickle
import subprocess
import sys

import pytest

from strategies import registry
from strategies._base import StrategyError

HEAVY = ("torch", "timm", "sklearn", "scipy", "ray", "mlflow", "optuna")


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_all_strategies_imports_nothing_heavy():
    code = (
        "import sys\nfrom strategies import registry\nfrom strategies.backbones import _weights\n"
        "[registry.make_strategy(name) for name in registry.list_strategies()]\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    assert run_python(code) == "[]"


def test_listing_imports_no_strategy():
    code = (
        "import sys\nfrom strategies import registry\nregistry.list_strategies()\n"
        "print([m for m in sys.modules if m.startswith('strategies.') and m.count('.') > 1])"
    )
    assert run_python(code) == "[]"


def test_names_are_paths_without_plumbing():
    names = registry.list_strategies()
    assert {"in_domain/unet", "cross_modality/efficientnet_lite0", "cross_domain/spectf"} <= set(names)
    assert not [name for name in names if "/_" in name]


def test_unknown_name_is_told_with_the_nearest_one():
    with pytest.raises(registry.UnknownStrategyError, match=r"Did you mean 'in_domain/unet'\? Known: ") as caught:
        registry.get_strategy("in_domain/unett")
    assert "in_domain/unet" in caught.value.known


@pytest.mark.parametrize("name", ["in_domain/_tuning", "backbones/unet", "unet", "", "in_domain/../heads"])
def test_plumbing_is_no_strategy(name):
    with pytest.raises(registry.UnknownStrategyError):
        registry.get_strategy(name)


def test_unknown_strategy_error_survives_pickle():
    error = pickle.loads(pickle.dumps(registry.UnknownStrategyError("x", ["b", "a"])))
    assert (error.name, error.known) == ("x", ("a", "b"))


def test_unknown_field_is_told_with_the_nearest_one():
    with pytest.raises(StrategyError, match="Did you mean 'learning_rate'"):
        registry.make_strategy("in_domain/unet", {"learnin_rate": 1e-3})


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("in_domain/unet", {"regime": "lora"}, "regime 'lora' is not offered; allowed: full"),
        (
            "in_domain/unet",
            {"regime": "half"},
            "regime 'half' is not offered by UNet; allowed: frozen, stem, lora, full",
        ),
        ("in_domain/unet", {"init": "pretrained"}, "has no weights"),
        ("in_domain/unet", {"width": 0.5}, "width 0.5 of UNet is not a whole number"),
        ("in_domain/unet", {"learning_rate": float("nan")}, "is not a finite number"),
        ("in_domain/unet", {"learning_rate": -1.0}, "learning_rate -1.0 is out of range"),
        ("in_domain/svm_rbf", {"gamma": "wide"}, "gamma 'wide' is not understood"),
        ("in_domain/svm_rbf", {"tuning": "none"}, "allowed: given, cross_validation"),
        ("in_domain/spectral_cnn", {"kernel_size": 4}, "is even"),
        ("cross_modality/efficientnet_lite0", {"regime": "stem", "projection": "pca"}, "'pca' is fixed"),
    ],
)
def test_a_bad_field_value_is_refused_with_what_is_allowed(name, values, text):
    with pytest.raises(StrategyError, match=text):
        registry.make_strategy(name, values)


PLUGIN = """
from dataclasses import dataclass
from strategies._base import Strategy

@dataclass(frozen=True, kw_only=True)
class Mine(Strategy):
    depth: int = 3

STRATEGY = Mine
"""


def test_a_plugin_file_is_registered_and_its_strategy_survives_pickle(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_plugins", {})
    file = tmp_path / "my_strategy.py"
    file.write_text(PLUGIN)
    assert registry.load_plugin(file) == registry.load_plugin(file) == "plugin/my_strategy"
    assert "plugin/my_strategy" in registry.list_strategies()
    mine = registry.make_strategy("plugin/my_strategy", {"depth": 5})
    assert pickle.loads(pickle.dumps(mine)) == mine


def test_two_plugins_of_one_name_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_plugins", {})
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "twin.py").write_text(PLUGIN)
    registry.load_plugin(tmp_path / "a" / "twin.py")
    with pytest.raises(StrategyError, match="is taken by"):
        registry.load_plugin(tmp_path / "b" / "twin.py")


@pytest.mark.parametrize(
    ("content", "text"),
    [("x = 1", "defines no STRATEGY"), ("STRATEGY = 3", "allowed: a subclass"), ("1 / 0", "ZeroDivisionError")],
)
def test_a_broken_plugin_is_refused_with_the_reason(tmp_path, monkeypatch, content, text):
    monkeypatch.setattr(registry, "_plugins", {})
    file = tmp_path / "broken.py"
    file.write_text(content)
    with pytest.raises(StrategyError, match=text):
        registry.load_plugin(file)
    assert not registry._plugins


def test_a_plugin_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(StrategyError, match="is not a Python file"):
        registry.load_plugin(tmp_path / "absent.py")


def test_installed_packages_add_strategies_by_entry_point(tmp_path, monkeypatch):
    (tmp_path / "their_package.py").write_text(PLUGIN)
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hsfm_sweep.strategies]\ntheirs/mine = their_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "theirs/mine" in registry.list_strategies()
    assert registry.make_strategy("theirs/mine").depth == 3
