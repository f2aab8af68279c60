"""From a grid to cells, runs and costs. Pure: no Ray, no torch, no clock, no network."""
