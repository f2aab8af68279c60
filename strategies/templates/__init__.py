"""Working strategies to start from: `hsfm-sweep strategy init` copies one and gives it a name of its own."""
