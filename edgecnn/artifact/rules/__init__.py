"""Which operators devices run, and the shapes of what they make: see `operators`."""
