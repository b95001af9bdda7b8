"""Fitting a network on a chip: analog streams, partition into cores, placement, limits."""
