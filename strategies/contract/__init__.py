"""The contract of a strategy as checks that anybody can run: on a packaged strategy, a plugin file or a class.

    from strategies.contract import checks_of

    @pytest.mark.parametrize("check", checks_of("my_network.py"), ids=str)
    def test_the_contract(check):
        check()

Each check is one sentence, and needs the installed package only. `hsfm-sweep strategy check` runs them without pytest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from strategies._base import Strategy
from strategies.contract._subject import ContractError as ContractError
from strategies.contract._subject import Subject
from strategies.registry import get_strategy, load_plugin


@dataclass(frozen=True)
class Check:
    """One sentence about one strategy, to be called."""

    subject: Subject
    test: Callable[[Subject], None]
    weights: str | None = None
    """Name in the weights registry of what it has to be given to run, or None."""

    def __call__(self, weights_path: str | None = None) -> None:
        """Run the check; on a fixed seed and one thread, and leaves both as they were.

        Raises:
            ContractError: the strategy does not keep the contract.
        """
        with _fixed_seed(self.subject.strategy.kind == "network"):
            self.test(replace(self.subject, weights_path=weights_path))

    @property
    def sentence(self) -> str:
        """What the check says, in words."""
        kind = self.subject.strategy
        variant = [
            *([self.subject.regime] if len(kind.regimes) > 1 else ()),
            *([self.subject.init] if kind.pretraining else ()),
        ]
        words = self.test.__name__.replace("_", " ")
        return f"{words} [{', '.join(variant)}]" if variant else words

    def __str__(self) -> str:
        """A test's id."""
        return f"{self.subject.name}: {self.sentence}"


def checks_of(strategy: str | Path | type[Strategy]) -> list[Check]:
    """All checks of a strategy, in every regime and initialisation that it offers.

    Args:
        strategy: the name of a packaged or installed one, the path of a plugin's `.py` file, or the class.

    Raises:
        StrategyError: no such strategy, or a file that cannot be loaded.
    """
    from strategies.contract import _datasheet, _estimators

    name, kind = _resolve(strategy)
    subject = Subject(strategy=kind, name=name, regime=kind.regimes[0], init="random")
    checks = [Check(subject, test) for test in _datasheet.CHECKS]
    if kind.kind == "estimator":
        return checks + [Check(subject, test) for test in _estimators.CHECKS]
    return [*checks, *_network_checks(subject)]


def _network_checks(subject: Subject) -> Iterator[Check]:
    from strategies.contract import _networks

    kind = subject.strategy
    whole = replace(subject, regime="full") if "full" in kind.regimes else subject
    yield from (Check(whole, test) for test in _networks.ONCE)
    for regime in kind.regimes:
        one = replace(subject, regime=regime)
        yield from (Check(one, test) for test in (*_networks.EVERY_VARIANT, *_networks.RANDOM_VARIANTS))
    if kind.pretraining is None:
        return
    weights = kind.pretraining.weights
    yield from (Check(replace(whole, init="pretrained"), test) for test in _networks.WITHOUT_WEIGHTS)
    for regime in kind.regimes:
        one = replace(subject, regime=regime, init="pretrained")
        tests = _networks.EVERY_VARIANT + (_networks.PRETRAINED_ONCE if regime == kind.regimes[0] else ())
        yield from (Check(one, test, weights) for test in tests)


def _resolve(strategy: str | Path | type[Strategy]) -> tuple[str, type[Strategy]]:
    if isinstance(strategy, type):
        return strategy.__name__, strategy
    if isinstance(strategy, Path) or strategy.endswith(".py"):
        strategy = load_plugin(strategy)
    return strategy, get_strategy(strategy)


@contextlib.contextmanager
def _fixed_seed(network: bool) -> Iterator[None]:
    if not network:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield
    finally:
        torch.set_num_threads(threads)
