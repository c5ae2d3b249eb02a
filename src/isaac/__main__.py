"""Run the command line: ``isaac``, or ``python -m isaac``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code; an interrupt is no error, not even at once."""
    try:
        from .cli.main import main as run  # takes a moment to import
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
