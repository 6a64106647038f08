"""Random changes of real texts: search files, option lists and lines of logs."""

import re

from hypothesis import strategies as st

_PLAIN = """
0 1 -1 1.5 1e-3 1e400 1e-400 .inf -.inf .nan 010 0o10 0x10 0b1 1_000 1__0 12:30 1:2:3.5 0,07 8/255 8/0 1/2/3
-8/255 1h30m 99999999999999999999 1e30 0.0000001 1.0e-320 +3 yes no on OFF true null ~ '' "x" 2026-11-28 rvsm
enresnet digits [] {} *a % @ ` !!binary {choice:[]} 1.0
"""
# Scalars that a careless hand, another language or a broken disk may leave.
SCALARS = [
    *_PLAIN.split(),
    *("", "8 / 255", "30 m", "[1, 2]", "[0,5, 0,8]", "{a: 1}", "{epsilon: 0,07}", "{choice: [1, 2]}", "&a 1"),
    *("{uniform: [0, 1]}", "{uniform: [1, 0]}", "{log_uniform: [0, 1]}", "{log_int_uniform: [1, 1e3]}"),
    *("{int_uniform: [1, 99999999999999999999]}", "{choice: [[1]]}", "{uniform: [1e-3, .inf]}", "!!int 010"),
    *("!!python/name:os.system", "!!binary eA==", "!!set {a}", "!!timestamp 2026-11-28", "- - -"),
    *("9" * 400, "-" + "9" * 40, "x" * 5000, "[" * 70 + "]" * 70, "{a: " * 60 + "}" * 60),
    *("\x00", "\x07", "\x1b[31m", "\ufeff", "\u2028", "\x85", "\u0663", "\u00bc"),
]
_FIELDS = """
data data.folder data.flip data.crop_padding model model.network model.width model.depth model.enresnet.gamma
model.enresnet.members attack attack.epsilon attack.steps evaluation evaluation.step_size pruning
pruning.method
pruning.rgsm.lambda_1 training training.lr training.milestones training.max_epochs training.batch_size points
points.0 search search.objectives search.early_stopping search.early_stopping.eta search.trials search.seed
search.time_budget search.gpus_per_trial description provenance . a.b.c search..x
"""
# A value in YAML or JSON.
_TOKEN = re.compile(r"(?<=[:\[,] )[^,\[\]{}#\s]+|(?<=\":)[^,\[\]{}#\s]+")
_CHARACTERS = [
    "\x00",
    "\x07",
    "\x1b",
    "\ufeff",
    "\t",
    "\r",
    "\u2028",
    ":",
    ",",
    "[",
    "}",
    "'",
    "#",
    "&",
    "*",
    "?",
    "-",
]


@st.composite
def text(draw: st.DrawFn, texts: list[str]) -> str:
    """One of the texts after one to three changes."""
    found = draw(st.sampled_from(texts))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        found = _changed(draw, found)
    return found


def _changed(draw: st.DrawFn, content: str) -> str:
    tokens = list(_TOKEN.finditer(content))
    if tokens and draw(st.booleans()):
        found = draw(st.sampled_from(tokens))
        return content[: found.start()] + draw(st.sampled_from(SCALARS)) + content[found.end() :]
    lines = content.split("\n")
    at = draw(st.integers(0, len(lines) - 1))
    how = draw(
        st.sampled_from(["value", "value", "value", "key", "drop", "double", "swap", "cut", "put", "indent"])
    )
    line = lines[at]
    if how == "value" and ":" in line:
        lines[at] = f"{line.rpartition(':')[0]}: {draw(st.sampled_from(SCALARS))}"
    elif how == "key" and ":" in line:
        lines[at] = f"{draw(st.sampled_from(SCALARS))}:{line.partition(':')[2]}"
    elif how == "drop":
        del lines[at]
    elif how == "double":
        lines.insert(at, line)
    elif how == "swap":
        other = draw(st.integers(0, len(lines) - 1))
        lines[at], lines[other] = lines[other], lines[at]
    elif how == "indent":
        lines[at] = " " * draw(st.integers(0, 6)) + line.lstrip()
    elif how == "cut":
        lines[at] = line[: draw(st.integers(0, len(line)))]
    else:
        place = draw(st.integers(0, len(line)))
        lines[at] = line[:place] + draw(st.sampled_from(_CHARACTERS)) + line[place:]
    return "\n".join(lines)


@st.composite
def options(draw: st.DrawFn, lists: list[list[str]]) -> list[str]:
    """One of the option lists after one to three changes; the command, its first word, stays."""
    found = list(draw(st.sampled_from(lists)))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        at = draw(st.integers(1, len(found) - 1)) if len(found) > 1 else 1
        how = draw(st.sampled_from(["value", "value", "value", "set", "drop", "double", "cut"]))
        if how == "set" or len(found) < 2:
            field = draw(st.sampled_from(_FIELDS.split()))
            found[at:at] = ["--set", f"{field}={draw(st.sampled_from(SCALARS))}"]
        elif how == "value":
            path, equals, _ = found[at].partition("=")
            value = draw(st.sampled_from(SCALARS))
            found[at] = f"{path}={value}" if equals else value
        elif how == "drop":
            del found[at]
        elif how == "double":
            found.insert(at, found[at])
        else:
            found[at] = found[at][: draw(st.integers(0, len(found[at])))]
    return [word.replace("\x00", "") for word in found]  # the operating system passes none
