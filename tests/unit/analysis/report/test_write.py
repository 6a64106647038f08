"""What a report holds, and the commands that write it, choose from it, and export a network."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml

import analysis
from analysis.report import tables
from analysis.report import write as report
from analysis.report.facts import Facts
from analysis.report.page import page
from analysis.report.run_set import RunSet
from analysis.report.section import Content, Section
from analysis.report.sections import SECTIONS, cost
from analysis.report.sections.comparisons import comparisons
from rtune.config import spec
from rtune.errors import ObjectiveError, RunError
from rtune.run import summary
from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from tests.support.command import Rtune
from tests.support.run_folders import fronts, logs
from tests.support.waiting import wait_for

OBJECTIVES = fronts.TREE["search"]["objectives"]


class Page(HTMLParser):
    """What a page refers to, and its text outside scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.text = ""
        self.script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.script = tag in ("script", "style")
        self.links += [v or "" for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self.script = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self.script else data


def parsed(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.text = " ".join(page.text.split())
    return page


def read(path: Path) -> Page:
    return parsed(path.read_text())


def write(folder: RunFolder, output: Path | None = None, *formats: str) -> list[Path]:
    return [Path(where) for where in report.write([folder], output, formats or report.DEFAULT)]


def front(folder: RunFolder) -> pd.DataFrame:
    return analysis.front(analysis.networks(analysis.load(folder)), OBJECTIVES)


def test_it_shows_the_front_and_needs_nothing_but_itself(tmp_path: Path) -> None:
    folder = fronts.make(tmp_path)
    page, table, svg, png = write(folder)
    found = read(page)
    assert all(link.startswith("#section-") for link in found.links)
    for name in front(folder)["trial"]:
        assert name in found.text
    assert pd.read_csv(table)["trial"].tolist() == front(folder)["trial"].tolist()
    assert svg.read_text().startswith("<?xml")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert page.stat().st_size < 8_000_000


def test_it_tells_the_saving_that_rtune_status_tells(tmp_path: Path) -> None:
    folder = fronts.make(tmp_path)
    ledger = fold(folder.read().records)
    status = summary.saving(ledger, summary.max_epochs(ledger, folder.spec))
    told = re.fullmatch(r"(\d+) epochs run; .* taken (\d+): (\d+) % saved", status)
    assert told is not None
    run, unstopped, share = (f"{int(number):,}" for number in told.groups())
    page = cost.saved(RunSet.of([folder]))
    assert page.startswith(f"{run} epochs were run")
    assert page.endswith(f"taken {unstopped} epochs, so {share} % were saved.")
    seconds = int(run) * 1.7
    assert f"run, {seconds / 60:.0f} minutes of training and evaluation" in page


def test_it_escapes_what_it_shows(tmp_path: Path) -> None:
    page = write(fronts.make(tmp_path, broken=3))[0]
    assert "<script>alert(1)</script>" not in page.read_text()
    assert "<b>bad</b>" not in page.read_text()
    assert "<script>alert(1)</script> & more" in read(page).text


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!--<script>", "]]>", "\u2028"])
def test_no_text_breaks_out_of_the_data(tmp_path: Path, text: str) -> None:
    tree = json.loads(json.dumps(fronts.TREE))
    tree["description"] = text
    page = write(fronts.make(tmp_path, trials=3, tree=tree))[0].read_text()
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert len(json.loads(data)["points"]["id"]) == 3
    assert page.count("alert(1)") == page.count("alert(1)&lt;/script")


def test_a_section_is_a_module_a_template_and_a_place_in_the_list(tmp_path: Path) -> None:
    """Nothing else needs to know of it; its texts are escaped, its data and its script are on the page."""
    (tmp_path / "toy.html.j2").write_text(
        '{% from "macros.html.j2" import plot %}<p>{{ told }}</p>{{ plot("toy-plot", told) }}'
    )
    (tmp_path / "toy.js").write_text("Page.section({ draw: () => Plots.data.sections.toy });")
    told = "<script>alert(2)</script> & 40 networks"

    def content(facts: Facts) -> Content | None:
        return Content({"told": told}, {"told": told}) if len(facts.run_set.networks) else None

    toy = Section.of_module(tmp_path / "toy.py", "A <toy>", "All about <toys>", content)
    sections = (*SECTIONS[:2], toy, *SECTIONS[2:])
    html = page(RunSet.of([fronts.make(tmp_path, trials=6)]), sections=sections)
    found = parsed(html)
    assert found.text.index("Certainty") < found.text.index("A <toy>") < found.text.index("Settings")
    assert "#section-toy" in found.links
    assert f"All about <toys> {told}" in found.text
    assert "alert(2)</script>" not in html
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert json.loads(data)["sections"]["toy"] == {"told": told}
    assert "<script>Page.section({ draw: () => Plots.data.sections.toy });</script>" in html
    nothing = page(RunSet.of([fronts.make(tmp_path, "empty", trials=0)]), sections=sections)
    assert "toy" not in parsed(nothing).text


@pytest.mark.parametrize(("trials", "broken"), [(0, 0), (3, 3), (1, 0)])
def test_poor_runs_get_a_useful_page(tmp_path: Path, trials: int, broken: int) -> None:
    files = write(fronts.make(tmp_path, trials=trials, broken=broken), None, *report.FORMATS)
    found = read(files[0])
    if trials == broken:
        assert "no front to show" in found.text
        assert [file.suffix for file in files] == [".html", ".csv", ".md", ".tex", ".parquet"]
        assert pd.read_csv(files[1]).empty
    if broken:
        assert "failed: <b>bad</b>" in found.text
    if trials == 1:
        assert "1 trial gave 1 network; 1 is on the Pareto front" in found.text


def test_every_format_holds_the_front(tmp_path: Path) -> None:
    folder = fronts.make(tmp_path)
    files = {file.suffix[1:]: file for file in write(folder, None, *report.FORMATS)}
    assert files.keys() == report.FORMATS.keys()
    names = front(folder)["trial"].tolist()
    assert pd.read_csv(files["csv"])["trial"].tolist() == names
    pd.testing.assert_series_equal(
        pd.read_parquet(files["parquet"])["robust_accuracy"],
        front(folder)["robust_accuracy"].reset_index(drop=True),
    )
    lines = files["md"].read_text().splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:-2]] == names
    assert lines[-1].startswith("The front of run: validation split of digits (")
    assert len({line.count("|") for line in lines[:-2]}) == 1
    tex = files["tex"].read_text()
    assert [name for name in names if f"  {name} & " in tex] == names
    assert tex.count(r"\\") == len(names) + 1
    best = front(folder)["robust_accuracy"].max()
    assert rf"\textbf{{{100 * best:.1f}}}" in tex
    assert files["pdf"].read_bytes().startswith(b"%PDF")
    # Letters stay letters, so that a paper's search finds them.
    assert ">channel sparsity</text>" in files["svg"].read_text()


def test_the_same_run_gives_the_same_pictures(tmp_path: Path) -> None:
    folder = fronts.make(tmp_path)
    for name in ("svg", "pdf", "tex", "md"):
        one, other = (write(folder, tmp_path / where, name)[0].read_bytes() for where in "ab")
        assert one == other


def test_its_search_file_can_be_run_again(tmp_path: Path) -> None:
    folder = fronts.make(tmp_path, trials=1)
    text = (tmp_path / "run" / "search.yaml").read_text()
    again = spec.from_tree(yaml.safe_load(text), {}, "again")
    assert again.ranges == folder.spec.ranges
    assert " ".join(text.split()) in read(write(folder)[0]).text


def test_each_launch_is_told_with_what_it_asked_for(tmp_path: Path) -> None:
    folder = fronts.make(tmp_path, trials=3)
    with folder.launch() as writer:
        writer.append(logs.launch(2e9, command="replicate", asked="--trials t0001 --seeds 5", concurrency=3))
    with folder.launch() as writer:
        writer.append(logs.launch(2e9, command="resume", asked="--trials 4 --max-epochs 9"))
    text = read(write(folder)[0]).text
    when = r"\(\d{4}-\d\d-\d\d \d\d:\d\d"
    assert re.search(rf"rtune search FILE.yaml --trials 3 --max-epochs 4 {when}, 2 at once\)", text)
    assert re.search(rf"rtune replicate {folder.place} --trials t0001 --seeds 5 {when}, 3 at once\)", text)
    assert re.search(rf"rtune resume {folder.place} --trials 4 --max-epochs 9 {when}, 2 at once\)", text)
    assert "rtune search; then repeat the later launches above in their order, each on the new run" in text


def test_replicates_of_another_length_are_not_taken_for_none(tmp_path: Path) -> None:
    assert "Every setting was trained from one seed" in read(write(fronts.make(tmp_path, "one"))[0]).text
    folder = fronts.make(tmp_path, "several", seeds=2)
    assert "replicates from other seeds" in read(write(folder)[0]).text
    with folder.launch() as writer:  # as if all settings had gone on by an epoch since
        for trial in fold(folder.read().records).own.values():
            if trial.last is not None:
                writer.append(trial.last | {"epoch": trial.epoch + 1})
    text = read(write(folder)[0]).text
    assert "No member of the front has a replicate that was trained as long" in text
    assert "one seed" not in text


@pytest.mark.parametrize("searches", [False, True])
def test_numbers_stay_numbers_beside_a_run_without_them(tmp_path: Path, searches: bool) -> None:
    """One that does not search them, or does and has drawn none."""
    tree = fronts.TREE
    if not searches:
        tree = {k: v for k, v in tree.items() if k != "model"}
        tree |= {"pruning": {"rvsm": fronts.TREE["pruning"]["rvsm"]}}
    bare = fronts.make(tmp_path, "bare", tree=tree, lacking=("model", "pruning.method", "pruning.rgsm"))
    found = RunSet.of([bare, fronts.make(tmp_path, "whole")])
    for path in ("model.enresnet.gamma", "pruning.rgsm.lambda_1", "pruning.rvsm.beta"):
        assert pd.api.types.is_float_dtype(found.networks[path]), path
    assert set(found.networks[found.networks["run"] == 0]["kind"]) == {"bare"}
    assert "whole enresnet rgsm" in set(found.networks["kind"])


def test_too_many_kinds_of_several_runs_are_told_apart_by_run(tmp_path: Path) -> None:
    found = RunSet.of([fronts.make(tmp_path, name) for name in ("a", "b", "c")])  # of four kinds each
    assert set(found.networks["kind"]) == {"a", "b", "c"}


def test_it_tells_which_run_is_ahead(tmp_path: Path) -> None:
    """In either order of the runs; three sets of seeds a side cannot differ more."""
    good, poor = fronts.make(tmp_path, "good", seeds=3, shift=0.5), fronts.make(tmp_path, "poor", seeds=3)
    for folders in ((good, poor), (poor, good)):
        (said,) = (said for title, said in comparisons(RunSet.of(folders)) if title.startswith("Runs"))
        (plane,) = (one for one in said if one.startswith("In robust accuracy and natural accuracy"))
        assert "the share of the sets of seeds (3 a side) that attain a place differs by up to 100" in plane
        assert "percentage points in favour of good; permutation test of no difference: p = 0.100" in plane
        assert plane.endswith(", the smallest possible with so few sets.")


def test_no_picture_of_an_earlier_report_stays(tmp_path: Path) -> None:
    output = tmp_path / "output"
    write(fronts.make(tmp_path, "full", trials=6), output)
    (output / "mine.png").write_text("")
    write(fronts.make(tmp_path, "empty", trials=0), output)
    assert {file.name for file in output.iterdir()} == {"index.html", "front.csv", "mine.png"}


def test_names_are_text_in_markdown() -> None:
    table = tables.markdown(["a"], [["<b>x</b> *y* [z](u) |`\\`"]])
    assert table.splitlines()[-1] == r"| &lt;b&gt;x&lt;/b&gt; \*y\* \[z\](u) \|\`\\\` |"


def test_a_report_is_not_written_over_a_file(tmp_path: Path, rtune: Rtune) -> None:
    fronts.make(tmp_path / "runs", trials=3)
    (tmp_path / "taken").write_text("")
    done = rtune("report", "run", "--output", "taken")
    assert done.returncode == 2
    assert "cannot be written to taken, which is a file; a folder is expected" in done.stderr


def test_runs_that_cannot_stand_side_by_side_are_refused(tmp_path: Path) -> None:
    tree = {**fronts.TREE, "data": {"dataset": "fashion-mnist"}}
    other = {**fronts.TREE, "search": {"objectives": ["natural_accuracy", "weight_sparsity"]}}
    a, b, c = (
        fronts.make(tmp_path, n, trials=5, tree=t) for n, t in (("a", fronts.TREE), ("b", tree), ("c", other))
    )
    with pytest.raises(
        RunError, match=r"^a is of digits and b of fashion-mnist; accuracies of different datasets"
    ):
        report.write([a, b], tmp_path / "out")
    with pytest.raises(
        ObjectiveError, match=r"^a has the objectives natural_accuracy, robust_accuracy, .* and c"
    ):
        report.write([a, c], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    page = report.write([a, c], tmp_path / "out", ("html",), ["natural_accuracy", "macs"])[0]
    assert "natural accuracy and MACs" in read(Path(page)).text
    with pytest.raises(RunError, match=r"/a is named twice; a run is compared with others$"):
        report.write([a, RunFolder(tmp_path / "a")], tmp_path / "out")


def test_a_missing_objective_leaves_the_rest(tmp_path: Path) -> None:
    """Of another version's making: a log whose epochs lack a metric is left out line by line, and said."""
    folder = fronts.make(tmp_path, trials=6)
    log = tmp_path / "run" / "results" / "0001.jsonl"
    lines = log.read_text().splitlines()
    lines = [line.replace('"channel_sparsity":', '"gone":') if '"t0002"' in line else line for line in lines]
    log.write_text("\n".join(lines) + "\n")
    found = read(write(folder)[0])
    assert "0001.jsonl" in found.text
    assert "6 trials gave 5 networks" in found.text


def test_it_follows_a_search_to_its_end(tmp_path: Path) -> None:
    made = fronts.make(tmp_path, trials=3)
    record = json.loads((tmp_path / "run" / "results" / "0001.jsonl").read_text().splitlines()[1])
    pages: list[str] = []
    page = tmp_path / "run" / "report" / "index.html"
    writer = made.launch()

    def pause(seconds: float) -> None:
        pages.append(page.read_text())
        if len(pages) == 2:
            writer.append({**record, "trial": "t0099"})
        if len(pages) == 6:
            writer.__exit__(None, None, None)

    files = list(report.follow([made], None, ("html",), None, pause))
    assert files == [str(page)]
    assert 'http-equiv="refresh" content="15"' in pages[0]
    assert "1 running" in parsed(pages[-1]).text
    assert 'http-equiv="refresh"' not in page.read_text()


def test_ctrl_c_ends_the_following(tmp_path: Path) -> None:
    import signal

    folder = fronts.make(tmp_path, trials=3)
    with folder.launch():
        command = [
            sys.executable,
            "-m",
            "rtune",
            "report",
            str(tmp_path / "run"),
            "--format",
            "html",
            "--follow",
        ]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Who is started in the background ignores it, and so do those that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        wait_for(lambda: (tmp_path / "run" / "report" / "index.html").exists())
        assert process.stdout is not None
        assert process.stdout.readline().strip().endswith("index.html")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "rtune: interrupted; the page shows the state of its last update\n"
