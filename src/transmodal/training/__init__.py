"""Recipe, run, checkpoints and the training loop."""
