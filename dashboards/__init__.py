"""Pages made from the results table alone; nothing here knows the orchestrator."""
