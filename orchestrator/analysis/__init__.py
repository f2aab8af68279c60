"""From finished runs to a comparison: results table, statistics, exports."""
