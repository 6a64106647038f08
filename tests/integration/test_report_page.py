"""The report's page as a reader has it: in a real browser, at two widths, in two colour schemes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.report.write import write
from rtune.run.folder import RunFolder
from tests.support.run_folders import fronts
from tests.support.services import browser
from tests.support.services.browser import Seen

pytestmark = browser.needed
Open = Callable[..., Seen]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.browser() as found:
        yield found


@pytest.fixture
def look(chromium: Any) -> Iterator[Open]:
    """Opens a page; at the end it must not have complained, nor asked for anything but itself."""
    opened: list[Seen] = []

    def look(file: Path, **how: Any) -> Seen:
        opened.append(Seen(chromium, file, **how))
        return opened[-1]

    yield look
    for seen in opened:
        seen.check()


@pytest.fixture(scope="module")
def desk(chromium: Any, page: Path) -> Iterator[Seen]:
    """The page on a desk, open for all tests that only use it."""
    seen = Seen(chromium, page)
    yield seen
    seen.check()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fronts.make(tmp_path_factory.mktemp("runs"), seeds=3, broken=2)


@pytest.fixture(scope="module")
def page(folder: RunFolder) -> Path:
    return Path(write([folder])[0])


def members(folder: RunFolder) -> Any:
    return analysis.front(analysis.networks(analysis.load(folder)), folder.spec.search.objectives)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_plot_is_drawn_and_nothing_overflows(page: Path, look: Open, width: int, scheme: str) -> None:
    seen = look(page, width=width, scheme=scheme)
    drawn = seen.tells(
        "Object.fromEntries([...document.querySelectorAll('.plot')].map(b => [b.id, "
        "b.offsetParent === null ? -1 : "
        "b.querySelectorAll('path:is(.point, .js-line), .barlayer path, .shape-group path').length]))"
    )
    empty = [name for name, marks in drawn.items() if marks == 0]
    assert empty == []
    # Checkpoints are made up, so there are no norms to show.
    assert [name for name, marks in drawn.items() if marks < 0] == ["norms"]
    assert {"pair-0", "pair-2", "cost-epochs", "importance", "parallel", "slice-0", "curves"} <= drawn.keys()
    assert seen.tells("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible(page: Path, look: Open, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    seen = look(page, scheme=scheme)
    # axe is a script of the test's own: the page allows none but its own.
    found = Axe().run(seen.page)
    assert found.violations_count == 0, found.generate_report()


def test_slider_counts_the_networks_correctly(desk: Seen, folder: RunFolder) -> None:
    least = sorted(members(folder)["robust_accuracy"])[5]
    least = round(float(least) + 0.002, 3)
    desk.tells(
        f"(() => {{ const s = document.getElementById('least'); s.value = {least};"
        "s.dispatchEvent(new Event('input')); })()"
    )
    kept = members(folder).query("robust_accuracy >= @least")
    words = desk.text("#least-words")
    assert words.startswith(f"{len(kept)} of {len(members(folder))} front members have at least {least:.3f}")
    best = kept.sort_values("channel_sparsity").iloc[-1]
    assert f"best channel sparsity among them: {best['channel_sparsity']:.3f} ({best['trial']})" in words
    faded = desk.tells("[...document.querySelectorAll('tr.below')].map(r => r.dataset.id)")
    assert set(faded) == set(members(folder)["trial"]) - set(kept["trial"])


def test_points_fade_only_after_the_slider_is_moved(page: Path, look: Open) -> None:
    seen = look(page)
    shades = "[...new Set([...document.querySelectorAll('.plot[data-x]')].flatMap(b => b.data)"
    shades += ".filter(t => t.customdata).flatMap(t => t.marker.opacity))]"
    assert 0.08 not in seen.tells(shades)
    seen.page.focus("#least")
    seen.page.keyboard.press("ArrowRight")
    assert 0.08 in seen.tells(shades)
    # What has faded has no interval either.
    lines = "document.getElementById('pair-0').data.filter(t => t.error_y).flatMap(t => "
    lines += "t.marker.opacity.map((o, i) => [o === 0.08, t.error_y.array[i] === null]))"
    assert [True, True] in seen.tells(lines)
    assert all(faded == bare for faded, bare in seen.tells(lines))
    seen.page.keyboard.press("ArrowLeft")
    assert 0.08 not in seen.tells(shades)


def test_network_off_the_front_shows_no_empty_plots(desk: Seen, folder: RunFolder) -> None:
    rows = analysis.networks(analysis.load(folder))
    desk.page.select_option(
        "#trial", next(t for t in rows["trial"] if t not in set(members(folder)["trial"]))
    )
    assert not desk.page.is_visible("#curves-note")
    assert not desk.page.is_visible("#detail-plots")


def test_curve_markers_are_hollow_for_fewer_images(desk: Seen, folder: RunFolder) -> None:
    finished = members(folder).query("epoch == 4")["trial"].iloc[0]
    desk.page.select_option("#trial", finished)
    symbols = desk.tells(
        "Object.fromEntries(document.getElementById('curves').data.map(l => [l.name, l.marker.symbol]))"
    )
    assert [symbol.endswith("-open") for symbol in symbols["robust accuracy"]] == [True, False, True, False]
    assert not any(symbol.endswith("-open") for symbol in symbols["channel sparsity"])
    assert desk.page.is_visible("#curves-note")


def test_logarithmic_axis_has_readable_ticks(desk: Seen) -> None:
    axes = desk.tells(
        "[...document.querySelectorAll('.plot[id^=slice]')].map(b => b.layout.xaxis)"
        ".filter(a => a.type === 'log').map(a => [a.range, a.tickvals, a.ticktext])"
    )
    assert axes
    for (low, high), values, words in axes:
        assert list(map(float, words)) == values
        assert sum(10**low <= value <= 10**high for value in values) >= 3


def test_the_slider_can_be_used_by_keyboard(desk: Seen) -> None:
    before = desk.text("#least-value")
    desk.page.focus("#least")
    desk.page.keyboard.press("ArrowRight")
    assert float(desk.text("#least-value")) == pytest.approx(float(before) + 0.001)


def test_a_click_on_a_point_shows_its_trial_in_all_plots(desk: Seen) -> None:
    before = desk.text("#detail-title")  # what an earlier test has chosen
    target = desk.tells(
        "(() => { const box = document.getElementById('pair-1');"
        "const trace = box.data.find(t => t.customdata && t.marker.size === 11);"
        f"const k = trace.text.findIndex(id => !{before!r}.split(' ').includes(id + ','));"
        "const at = box.getBoundingClientRect(), axes = box._fullLayout;"
        "return {id: trace.text[k], x: trace.x[k], y: trace.y[k],"
        "left: at.left + axes.xaxis._offset + axes.xaxis.d2p(trace.x[k]) + scrollX,"
        "top: at.top + axes.yaxis._offset + axes.yaxis.d2p(trace.y[k]) + scrollY}; })()"
    )
    assert target["id"] not in before
    desk.tells(f"scrollTo(0, {target['top'] - 400})")
    at = target["left"], target["top"] - desk.tells("scrollY")
    desk.page.mouse.move(*at)
    desk.page.wait_for_selector("#pair-1 .hovertext")  # as for a person, who clicks on what lights up
    desk.page.mouse.click(*at)
    assert desk.text("#detail-title") == f"Trial {target['id']}, on the front"
    rings = desk.tells(
        "[...document.querySelectorAll('.plot[data-x]')]"
        ".map(b => b.data.find(t => t.name === 'chosen').x.length)"
    )
    assert rings[:3] == [1, 1, 1]
    ring = desk.tells("document.getElementById('pair-1').data.find(t => t.name === 'chosen')")
    assert (ring["x"], ring["y"]) == ([target["x"]], [target["y"]])
    assert desk.tells("document.querySelector('tr.chosen').dataset.id") == target["id"]


def test_front_members_can_be_clicked_under_the_attainment_lines(desk: Seen) -> None:
    places = (
        "(() => { const box = document.getElementById('pair-0'), axes = box._fullLayout;"
        "box.scrollIntoView({ block: 'center' }); const at = box.getBoundingClientRect();"
        "return box.data.filter(t => t.customdata).flatMap(t => t.text.map((id, k) =>"
        "({ id, on: t.marker.size === 11, left: at.left + axes.xaxis._offset + axes.xaxis.d2p(t.x[k]),"
        "top: at.top + axes.yaxis._offset + axes.yaxis.d2p(t.y[k]) }))); })()"
    )
    assert (
        desk.tells("document.getElementById('pair-0').data.filter(t => /seed sets/.test(t.name)).length") == 3
    )
    found = {one["id"]: one for one in desk.tells(places)}
    for left, top in [(one["left"], one["top"]) for one in found.values() if one["on"]][:12]:
        desk.page.mouse.move(2, 2)
        desk.page.wait_for_selector("#pair-0 .hovertext", state="detached")
        desk.page.mouse.move(left, top)
        desk.page.wait_for_selector("#pair-0 .hovertext")
        desk.page.wait_for_timeout(350)  # two clicks at once would zoom out
        desk.page.mouse.click(left, top)
        chosen = desk.text("#detail-title").removeprefix("Trial ").split(",")[0]
        # Of two that lie on each other either will do.
        assert max(abs(found[chosen]["left"] - left), abs(found[chosen]["top"] - top)) < 12


def test_row_can_be_selected_by_keyboard_and_by_link(desk: Seen, page: Path, look: Open) -> None:
    buttons = desk.page.locator("button.pick")
    name = buttons.nth(3).inner_text()
    buttons.nth(3).focus()
    desk.page.keyboard.press("Enter")
    assert desk.text("#detail-title") == f"Trial {name}, on the front"
    assert f"--trials {name}" in desk.text("#detail-list")
    assert desk.page.url.endswith(f"#{name}")
    again = look(page, mark=f"#{name}")
    assert again.text("#detail-title") == f"Trial {name}, on the front"
    assert look(page, mark="#%").text("#detail-title").endswith(", on the front")  # the knee


def test_slices_show_the_selected_objective(desk: Seen) -> None:
    for name in ("robust_accuracy", "channel_sparsity"):
        desk.page.select_option("#slice-metric", name)
        title = desk.tells("document.getElementById('slice-0').layout.yaxis.title.text")
        assert title == name.replace("_", " ")


def test_histogram_of_the_selected_network_is_drawn(trained: Path, look: Open, tmp_path: Path) -> None:
    file = Path(write([RunFolder(trained)], tmp_path)[0])
    seen = look(file)
    assert seen.tells("document.querySelectorAll('#norms .barlayer path').length") > 3
    assert "rtune export" in seen.text("#detail-list")


@pytest.mark.parametrize(("trials", "broken"), [(0, 0), (3, 3), (1, 0), (2, 0)])
def test_small_or_failed_runs_have_a_page_without_errors(
    tmp_path: Path, look: Open, trials: int, broken: int
) -> None:
    folder = fronts.make(tmp_path, trials=trials, broken=broken)
    seen = look(Path(write([folder])[0]))
    if trials == broken:
        assert "there is no front to show" in seen.text("#section-front")
    else:
        assert seen.text("#detail-title").startswith("Trial t000")
    if broken:
        seen.page.click("summary")
        assert "t0002 diverged: <b>bad</b>" in seen.text("#section-cost")


def test_page_compares_two_runs(tmp_path: Path, look: Open) -> None:
    runs = [fronts.make(tmp_path, "a", seed=1), fronts.make(tmp_path, "b", seed=2, shift=0.05)]
    seen = look(Path(write(runs, tmp_path / "both")[0]))
    assert seen.text("h1") == "a, b"
    assert seen.text("#detail-title").startswith("Trial b/t0")
    compared = seen.text("#section-comparisons")
    assert "a and b" in compared
    again = look(tmp_path / "both" / "index.html", mark="#a/t0003")
    assert again.text("#detail-title").startswith("Trial a/t0003,")
    assert "runs (2 a side)" in compared  # of either kind of networks
    assert "sets of seeds (" not in compared
