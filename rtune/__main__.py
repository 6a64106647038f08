"""`python -m rtune` is the command `rtune`."""

from rtune.cli.app import main

main(prog_name="rtune")
