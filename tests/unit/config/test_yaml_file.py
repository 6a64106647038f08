"""YAML as people mean it: what is read, and what is refused because it can be misread."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rtune.config import yaml_file
from rtune.config.yaml_file import YamlError, parse, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("1.", 1.0),
        ("+7", 7),
        ("-0", 0),
        ("010.5", 10.5),
        (".inf", float("inf")),
        ("true", True),
        ("~", None),
        # YAML 1.1 makes 8, 8, 16, 2, 1000, 750, True and a date of these; the field decides.
        ("010", "010"),
        ("0o10", "0o10"),
        ("0x10", "0x10"),
        ("0b10", "0b10"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("1:30:00.5", "1:30:00.5"),
        ("yes", "yes"),
        ("Off", "Off"),
        ("2026-11-28", "2026-11-28"),
        ("1e400", "1e400"),
        ("1e-400", "1e-400"),
        ("0e5", 0.0),
        ("9" * 5000, "9" * 5000),
        ("!!int 010", "010"),
        ("!!float 1_0.5", "1_0.5"),
        ("!!bool maybe", "maybe"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_merged_keys_give_way_to_own_ones_and_lines_are_those_of_the_values() -> None:
    text = """\
attack: &a
  epsilon: 0.1
  steps: 5
evaluation:
  steps: 7
  <<: *a
both: {<<: [{one: 1, two: 1}, {two: 2, three: 2}], three: 3}
"""
    value, origins = parse(text, "f")
    assert value["evaluation"] == {"epsilon": 0.1, "steps": 7}
    assert value["both"] == yaml.safe_load(text)["both"] == {"one": 1, "two": 1, "three": 3}
    where = {path: origins[path] for path in ("attack.steps", "evaluation.steps", "evaluation.epsilon")}
    assert where == {"attack.steps": "f:3", "evaluation.steps": "f:5", "evaluation.epsilon": "f:2"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "f:3: a is given twice"),
        ("a: &a {b: 1, b: 2}\nc: {<<: *a}", "f:1: a.b is given twice"),
        ("a: &a {b: 1}\nc: {<<: *a, d: 1, d: 2}", "f:2: c.d is given twice"),
        ("a: {b: 0,07}", "f:1: a.b is 0,07; a number has a decimal point, such as 0.07"),
        ("a: {b: 0,07, c: 1}", "f:1: a.b is 0,07"),
        ("a:\n  b: [0,5, 0,8]", "f:2: a.b has 0,5; a number has a decimal point, such as 0.5"),
        ("a: &a {b: *a}", "f: not valid YAML: a value contains itself"),
        ("a: {<<: 3}", "f:1: not valid YAML: expected a mapping"),
        ("[" * 5000, "f: not valid YAML: it is nested too deeply"),
        ("a: " + "[" * 60 + "]" * 60, "it is nested too deeply: more than 50 levels"),
        ("a: \0", "f: not valid YAML: unacceptable character"),
        ("a: !!timestamp x", "f:1: not valid YAML: could not determine a constructor for the tag"),
        ("a: !!set {b}", "f:1: not valid YAML: could not determine a constructor for the tag"),
        ("a: !!binary eA==", "f:1: not valid YAML: could not determine a constructor for the tag"),
        ("a: 1\n---\nb: 2", "f:2: not valid YAML: but found another document"),
        ("a: [b\n", "f:2: not valid YAML"),
        ("? [a]\n: 1", "f:1: not valid YAML: found unhashable key"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(YamlError) as error:
        parse(text, "f")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_list_without_blanks_is_a_list() -> None:
    assert parse_value("[1,2,3]") == [1, 2, 3]
    assert parse_value("[1, 2, 30]") == [1, 2, 30]


def test_aliases_that_stand_for_millions_of_values_are_refused_at_once() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    with pytest.raises(YamlError, match="more than 100,000 values"):
        parse("\n".join(lines), "f")


def test_a_value_of_the_command_line_is_checked_as_a_file_is() -> None:
    refused = [("{a: 1, a: 2}", "a is given twice"), ("{a: 0,07}", "decimal point"), ("", "no value")]
    for text, words in refused:
        with pytest.raises(YamlError, match=words):
            parse_value(text)


def test_a_large_file_is_refused_unread(tmp_path: Any) -> None:
    (tmp_path / "s.yaml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(YamlError, match="too large for a search file"):
        yaml_file.read(tmp_path / "s.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Any) -> None:
    (tmp_path / "s.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert yaml_file.read(tmp_path / "s.yaml")[0] == {"a": 1}


odd = ["1e5", "010", "yes", "12:30", "1_0", "0x1", "2026-11-28", "null", "1.", ""]
texts = st.text() | st.sampled_from(odd)
plain = texts | st.floats(allow_nan=False) | st.integers(-(2**60), 2**60) | st.booleans()


@settings(deadline=None)
@given(st.dictionaries(texts.filter(lambda key: "." not in key), plain))
def test_what_is_saved_is_read_back(tree: dict[str, Any]) -> None:
    assert parse(yaml_file.dump(tree), "f")[0] == tree
