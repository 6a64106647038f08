"""Changed search files, options and logs: no traceback, no hang, nothing misread (`make fuzz` for 10,000)."""

from tests.support.fuzzing import campaign


def test_some_changed_inputs() -> None:
    counts = {kind: (count, accepted) for kind, count, accepted in campaign.run(300, 1)}
    assert set(counts) == {"search files", "options", "log lines"}
    assert all(accepted for _, accepted in counts.values())  # a check that refuses all checks nothing
