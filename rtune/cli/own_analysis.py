"""The package analysis/ beside rtune/, whatever else is called `analysis`.

`analysis` is a common name: a user may have a module of that name in the working directory or on PYTHONPATH.
So the commands load the package from its folder, under a name that nobody else has. Its modules import each
other relatively. They are loaded at first use: the page's libraries take a second.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import analysis as analysis
    from analysis.report import choose as choose
    from analysis.report import text as text
    from analysis.report import write as write

_NAME = "rtune._analysis"
_FOLDER = Path(__file__).parents[2] / "analysis"
_MODULES = {
    "analysis": _NAME,
    "choose": f"{_NAME}.report.choose",
    "text": f"{_NAME}.report.text",
    "write": f"{_NAME}.report.write",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _NAME not in sys.modules:
        _load_package()
    return importlib.import_module(_MODULES[name])


def _load_package() -> None:
    spec = importlib.util.spec_from_file_location(_NAME, _FOLDER / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = package
    try:
        spec.loader.exec_module(package)
    except BaseException:
        del sys.modules[_NAME]
        raise
