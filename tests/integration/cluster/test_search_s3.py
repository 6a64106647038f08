"""Whole searches whose run folder lies in a real S3 server on this machine."""

import json
import os
import time
from pathlib import Path

import pytest

import analysis
from rtune.run.folder import RunFolder
from rtune.storage.places import place
from tests.support.cluster.searches import TINY, check_kept, check_whole, kill, start
from tests.support.command import Rtune
from tests.support.services import s3
from tests.support.waiting import wait_for

pytestmark = pytest.mark.cluster

SIZES = ["--trials", "3", "--max-epochs", "6", "--set", "points=[]", *TINY]


def began(uri: str, rows: int) -> bool:
    return "search.yaml" in place(uri).files() and len(analysis.load(uri)) >= rows


@pytest.mark.long
def test_search_survives_a_store_outage_and_its_run_can_be_used_in_the_store(
    store: s3.Server, tmp_path: Path, rtune: Rtune
) -> None:
    uri = store.uri("bucket/runs/first")
    process = start(tmp_path, "search", "digits", "--runs", store.uri("bucket/runs"), "--name=first", *SIZES)
    wait_for(lambda: began(uri, 2))
    with store.outage():
        time.sleep(13)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert "; retrying" in output
    rows = check_whole(uri, 6)
    assert rows["trial"].nunique() == 3
    assert set(rows["status"]) <= {"finished", "stopped"}
    assert {"search.yaml", "launch.log", "report/index.html"} <= set(place(uri).files())
    assert not RunFolder(uri).is_live()

    facts = json.loads(rtune("status", uri, "--json").stdout)
    assert facts["finished"] + facts["stopped"] == 3
    assert facts["bytes"] > facts["checkpoint_bytes"] > 0
    done = rtune("evaluate", uri, "--attacks", "natural")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"report: {store.uri('bucket/runs/first/report/index.html')}" in done.stdout
    assert "checkpoints" in rtune("status", uri).stdout
    assert rtune("prune-checkpoints", uri).returncode == 0
    assert len(rtune("results", uri).stdout.splitlines()) == len(rows) + 1
    assert rtune("report", uri).stdout.splitlines()[0] == str(place(uri) / "report" / "index.html")


@pytest.mark.long
def test_run_in_a_store_resumes_at_once_after_a_kill_and_a_copy_on_disk_continues(
    store: s3.Server, tmp_path: Path, rtune: Rtune
) -> None:
    uri = store.uri("bucket/runs/killed")
    process = start(
        tmp_path, "search", "digits", "--runs", store.uri("bucket/runs"), "--name", "killed", *SIZES
    )
    wait_for(lambda: began(uri, 3))
    second = rtune("resume", uri)
    assert second.returncode == 2
    assert (
        f"is in use: a launch is running on it (process {process.pid} on {os.uname().nodename})"
        in second.stderr
    )
    kill(process)
    before = check_whole(uri, 6)
    done = rtune("resume", uri)
    assert done.returncode == 0, done.stdout + done.stderr
    stored = check_whole(uri, 6)
    check_kept(before, stored)

    # Copied to a disk it goes on there.
    local = tmp_path / "here"
    for name in place(uri).files():
        (place(local) / name).write((place(uri) / name).read())
    done = rtune("resume", str(local), "--trials", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    after = check_whole(local, 6)
    assert after["trial"].nunique() == 4
    check_kept(stored, after)


@pytest.mark.parametrize(
    "runs",
    ["s3://no-such-bucket/runs?endpoint_override=127.0.0.1:{port}&scheme=http", "nosuch://bucket/runs",
     "s3://key:secret@bucket/runs"],
)  # fmt: skip
def test_unusable_store_is_refused_in_one_line(
    store: s3.Server, runs: str, tmp_path: Path, rtune: Rtune
) -> None:
    done = rtune("search", "digits", "--runs", runs.format(port=store.port), "--name", "run")
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "secret@" not in done.stderr
    assert list(tmp_path.iterdir()) == []
