"""`python -m rtune` is the command `rtune`."""

import contextlib
import os
import sys

# Python puts the working directory first. A user's random.py or yaml.py there is not the one that is meant.
with contextlib.suppress(OSError):
    if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
        sys.path.append(sys.path.pop(0))

from rtune.cli.app import main

main(prog_name="rtune")
