"""Run the command line with ``python -m isaac``."""

from .cli.main import main

main()
