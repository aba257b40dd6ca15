"""The entry point of `python -m nomos`."""

from nomos.cli import main

main()
