"""isometry: initialise neural networks, and prove that it was done right."""
