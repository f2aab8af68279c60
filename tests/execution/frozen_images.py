"""Plugin for tests: a frozen backbone of whole images."""

from tests.execution.frozen_networks import FrozenImages

STRATEGY = FrozenImages
