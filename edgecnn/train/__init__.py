"""Training: the networks, the recipe that says how one is trained, the loop, and the checkpoints it leaves. Needs torch."""
