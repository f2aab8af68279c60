"""Saved models that several tests use."""

from __future__ import annotations

import pytest

from orchestrator.prediction import FoundModel, find_model
from tests.prediction.made_models import made_model


@pytest.fixture(scope="session")
def spectral(tmp_path_factory: pytest.TempPathFactory) -> FoundModel:
    """A network of single spectra."""
    return find_model(made_model(tmp_path_factory.mktemp("spectral")))


@pytest.fixture(scope="session")
def unet(tmp_path_factory: pytest.TempPathFactory) -> FoundModel:
    """A network that sees 23 pixels to either side."""
    return find_model(made_model(tmp_path_factory.mktemp("unet"), "in_domain/unet"))


@pytest.fixture(scope="session")
def box_filter(tmp_path_factory: pytest.TempPathFactory) -> FoundModel:
    """A scikit-learn model that sees 4 pixels to either side and knows probabilities."""
    return find_model(made_model(tmp_path_factory.mktemp("box"), "in_domain/box_filter_logistic"))
