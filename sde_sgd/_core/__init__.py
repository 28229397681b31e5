"""Floor 0: randomness by address, pytree arithmetic and input errors. Knows nothing of SGD."""
