"""What a chip is, and fitting a network on it."""
