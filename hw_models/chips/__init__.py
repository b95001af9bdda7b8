"""Chip files and the sources of their figures: data only, read by ``nsim.hw_models.catalog``."""
