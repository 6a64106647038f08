"""`python -m rtune` is the command `rtune`."""

from rtune.cli import main

main(prog_name="rtune")
