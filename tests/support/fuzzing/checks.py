"""What must hold of any search file, options and log: no traceback, no hang, nothing misread in silence."""

import contextlib
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from rtune.cli.app import main
from rtune.config import fields, ranges, spec, yaml_file
from rtune.config.sections import search_file
from rtune.dryrun import listing
from rtune.errors import RtuneError, SpecError
from rtune.search.plan import of_spec
from rtune.search.state import Search

_SECONDS = 20.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@contextlib.contextmanager
def time_limit(what: object) -> Iterator[None]:
    """Context that ends with an error when it takes too long."""

    def late(*_: Any) -> None:
        raise AssertionError(f"it hangs: {what!r}")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def search_file_text(text: str, folder: Path) -> bool:
    """A search file is refused in one sentence, or is read as it is written; whether it is accepted."""
    path = folder / "search.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with time_limit(text):
        try:
            found = spec.load(path)
        except SpecError as error:
            sentence = str(error)
            found = None
        if found is None:
            assert "\n" not in sentence
            assert len(sentence) < 3000
            return False
        _check_reading(text, found)
        _check_round_trip(found)
        _check_trials(found)
    return True


def _check_reading(text: str, found: spec.Spec) -> None:
    """Each plain value of the file has the meaning of its text, and the dry run shows it."""
    shown = dict(line.split(" = ", 1) for line in listing.lines(found) if " = " in line)
    model = search_file()
    default = fields.plain(model().model_dump(), model)
    now = fields.plain(found.file.model_dump(), model)
    for path, written in _scalars(yaml.compose(text.lstrip("\ufeff"), yaml.SafeLoader), ""):
        if path not in now or path in found.ranges or path == "data.folder":
            continue
        assert _means(written, now[path]), (path, written, now[path])
        if path in shown:
            value, _ = json.JSONDecoder().raw_decode(shown[path])
            assert value == now[path]
        elif path not in default or now[path] != default[path]:
            required = fields.requirement(path)
            assert required is not None
            assert not set(required.names) & set(found.possible(required.slot)), path
    for path, domain in found.ranges.items():
        assert json.loads(shown[path]) == json.loads(json.dumps(ranges.dump(domain)))


def _scalars(node: yaml.Node, path: str) -> Iterator[tuple[str, str]]:
    """Dotted path and text of each plain value; of lists nothing."""
    if isinstance(node, yaml.MappingNode):
        for key, inner in node.value:
            yield from _scalars(inner, f"{path}.{key.value}".lstrip("."))
    elif isinstance(node, yaml.ScalarNode):
        yield path, node.value


def _means(written: str, value: Any) -> bool:
    """Whether a text may stand for a value: an independent reading."""
    text = written.strip()
    if isinstance(value, bool):
        return text.lower() in (("true", "yes", "on") if value else ("false", "no", "off"))
    if value is None:
        return text in ("", "~", "null", "Null", "NULL")
    if isinstance(value, str):
        return value == written
    if re.search(r"[smhd]", text):
        total = sum(float(n) * _UNITS[u] for n, u in re.findall(r"([0-9.]+)\s*([smhd])", text))
        return bool(total == value)
    if "/" in text:
        one, other = text.split("/")
        return bool(float(one) / float(other) == value)
    if re.fullmatch(r"0[0-9]+", text):
        return False
    return bool(float(text) == value)


def _check_round_trip(found: spec.Spec) -> None:
    """A run folder's search.yaml gives the same search again."""
    tree, origins = yaml_file.parse(yaml_file.dump(found.to_tree()), "saved")
    again = spec.from_tree(tree, origins, "saved")
    assert again.ranges == found.ranges
    assert again.to_tree() == found.to_tree()


def _check_trials(found: spec.Spec) -> None:
    search = Search(of_spec(found), [], lambda record: json.dumps(record))
    for _ in range(2):
        trial = search.next_trial()
        if trial is not None:
            found.trial_config(trial.values)


def command(args: list[str]) -> int:
    """A command ends with an exit code of its own, and without a traceback; the code."""
    with time_limit(args):
        result = CliRunner().invoke(main, args)
    unexpected = result.exception is not None and not isinstance(result.exception, SystemExit)
    if unexpected and result.exception is not None:
        raise result.exception
    assert "Traceback" not in result.output
    assert result.exit_code in (0, 1, 2), (args, result.output)
    return result.exit_code


def log_lines(text: str, run: Path, segment: str) -> bool:
    """A damaged log is read as far as it goes, or refused in a sentence; whether it is read."""
    (run / "results" / segment).write_bytes(text.encode("utf-8", "surrogatepass"))
    codes = {command([name, str(run)]) for name in ("status", "results")}
    with time_limit(text), contextlib.suppress(RtuneError):
        from rtune.run.folder import RunFolder
        from rtune.run.ledger import fold

        folder = RunFolder(run)
        records = folder.read().records
        fold(records)
        Search(of_spec(folder.spec), records, lambda record: None)
    return codes == {0}
