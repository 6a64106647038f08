"""What would keep Ray from starting is named before Ray is imported."""

import tempfile

import pytest

from rtune.cluster.start import preflight
from rtune.errors import ResourceError


def test_settings_that_ray_cannot_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        preflight, "SETTINGS", ["RAY_ADDRESS", "RAY_health_check_period_ms", "RAY_memory_usage_threshold"]
    )
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.9")
    preflight.check_environment()
    monkeypatch.setenv("RAY_memory_usage_threshold", "nonsense")
    with pytest.raises(
        ResourceError,
        match=r"^Ray cannot read RAY_memory_usage_threshold=nonsense in the environment; ",
    ):
        preflight.check_environment()


def test_without_a_folder_for_temporary_files_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/dev/null", "/dev/null/a"])
    with pytest.raises(ResourceError, match=r"^No usable temporary directory found in .*; set TMPDIR"):
        preflight.check_environment()


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "nonsense", "ray://a:1", "http://a:1", "127.0.0.1:99999", " "]
)
def test_an_address_from_the_environment_is_said_to_be(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ResourceError) as given:
        preflight.check(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ResourceError) as found:
        preflight.check(address)
    assert str(found.value) == (
        f"{given.value}; the address is from RAY_ADDRESS in the environment: "
        "unset it to use this machine alone"
    )
    assert preflight.from_environment(address)
    assert not preflight.from_environment(None)
