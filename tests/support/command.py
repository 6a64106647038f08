"""The type of the fixture `rtune`."""

import subprocess
from collections.abc import Callable

Rtune = Callable[..., "subprocess.CompletedProcess[str]"]
