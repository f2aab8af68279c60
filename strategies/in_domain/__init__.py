"""Strategies trained on the target data alone."""
