"""A pickle that would run code when it is read."""

import os
from pathlib import Path
from typing import Any


class Evil:
    """Unpickling it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)
