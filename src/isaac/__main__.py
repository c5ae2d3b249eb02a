"""Run the command line with ``python -m isaac``."""

from .cli import main

main()
