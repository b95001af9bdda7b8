"""Outside models to a Network: reading files, tracing torch modules, lowering. `network` imports no torch."""
