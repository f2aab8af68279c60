"""MLflow as the one source of truth: what is done, with what outcome. Nothing is ever deleted."""
