"""What runs next, and where: searcher, worker groups, the training loop, checkpoints, failure policy."""
