"""`nsim bench`: how fast nsim is on this machine, against what, measured in one run."""
