"""Strategies starting from weights trained on other hyperspectral data."""
