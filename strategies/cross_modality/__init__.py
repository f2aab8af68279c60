"""Strategies starting from weights trained on RGB images."""
