"""``python -m nsim``."""

from nsim.cli import main

main()
