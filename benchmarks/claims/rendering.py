"""The two tables of a results file, arms and statements, as text and as markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.claims.statements import STATEMENTS, Effect, Records, effects, metrics_of

COLUMNS = {
    "natural_accuracy": "A1 natural",
    "fgsm": "A2 FGSM",
    "ifgsm-20": "A3 IFGSM-20",
    "cw-20": "A4 C&W-20",
    "pgd-20": "PGD-20 (EOT if noisy)",
    "channel_sparsity": "channel sparsity",
    "weight_sparsity": "weight sparsity",
}
Table = list[list[str]]


def arms_table(results: Mapping[str, Any]) -> Table:
    """One row per arm: mean and standard deviation (n - 1) over the seeds of every metric, in percent."""
    records = metrics_of(results)
    table = [["network", "method", "parameters", "seeds", *COLUMNS.values()]]
    for arm in results["arms"]:
        values = [metrics for (key, _), metrics in records.items() if key == arm["key"]]
        cells = [_spread([v[name] for v in values if name in v]) for name in COLUMNS]
        settings = " ".join(f"{name}={value:g}" for name, value in arm["settings"].items())
        method = f"{arm['method']} {settings}".strip()
        table.append([arm["network"], method, f"{arm['parameters']:,}", str(len(values)), *cells])
    return table


def statements_table(results: Mapping[str, Any]) -> Table:
    """One row per effect, under its statement; a statement whose arms were not trained has no rows."""
    records = metrics_of(results)
    labels = {arm["key"]: _short(arm) for arm in results["arms"]}
    table = [["", "comparison", "metric", "paper", "ours", "95 % interval", "seeds", "verdict"]]
    table += [_row(found, labels) for found in effects(records)]
    return table


def summary(records: Records) -> Table:
    """One row per statement: how many of its effects were reproduced, contradicted, undecided, not tested."""
    table = [["", "statement", "reproduced", "contradicted", "undecided", "not tested"]]
    found = effects(records)
    for number, sentence in STATEMENTS.items():
        verdicts = [e.verdict for e in found if e.comparison.statement == number]
        counts = [str(verdicts.count(name)) for name in ("reproduced", "contradicted", "undecided")]
        table.append([str(number), sentence, *counts, str(verdicts.count("not tested"))])
    return table


def text(results: Mapping[str, Any]) -> str:
    """All facts and tables as plain text."""
    parts = [
        _facts(results),
        _aligned(arms_table(results)),
        _aligned(statements_table(results)),
        _aligned(summary(metrics_of(results))),
    ]
    return "\n\n".join(parts)


def markdown(results: Mapping[str, Any]) -> str:
    """All facts and tables as markdown."""
    return "\n\n".join(
        [
            f"# The paper's comparisons on {results['preset']['dataset']}",
            _facts(results),
            "Accuracies and sparsities in percent, mean ± standard deviation over the seeds, on the "
            f"{results['part']} split, of the network of the last epoch (the paper's: of the one "
            "that was best on validation images). A noisy network's accuracy is "
            f"the mean over {results['preset']['draws']} passes; its PGD-20 averages each gradient over "
            f"{results['preset']['eot_draws']} noise draws (EOT), and starts at random.",
            _piped(arms_table(results)),
            "## Statement by statement",
            _piped(summary(metrics_of(results))),
            "Effects are differences in percentage points, paired by seed. The 95 % confidence interval is "
            "Student's t over the seeds. It is about these measured images; the error from the choice of the "
            "images is not included. *reproduced*: the whole interval has the sign of the effect in the "
            "paper; *contradicted*: the whole interval has the opposite sign; *undecided*: it contains 0. "
            "There is no correction for the number of intervals: one in twenty misses the true value by "
            "chance. *not tested*: shown for comparison only, or impossible for any network (twice 60 % of "
            "the channels). Where the paper gives no figure (-), the statement gives the sign. For the "
            "questions that the paper does not ask, *reproduced* means yes.",
            _piped(statements_table(results)),
        ]
    )


def _facts(results: Mapping[str, Any]) -> str:
    preset, machine = results["preset"], results["machine"]
    workers, wall, cpu = results["workers"], results["wall_seconds"], results["cpu_seconds"]
    share = cpu / (workers * wall) if wall else 0.0
    lines = [
        f"- Command: `{results['command']}`; {results['date']}; torch {machine['torch']}, "
        f"Python {machine['python']}, on {results['device_name']}.",
        f"- Machine: {machine['cpu']}, {machine['cores']} cores; {workers} worker processes, "
        "with one torch thread each.",
        f"- Time: {wall:,.0f} s of wall time, {cpu:,.0f} s of CPU time over all trainings: the processes had "
        f"{share:.0%} of their cores. On free cores it would take about {cpu / workers / 60:.0f} minutes.",
        f"- Data: {results['train_images']:,} training images, {results['measured_images']:,} measured "
        f"({results['part']} split){_pooled(preset['pool'])}, seeds {', '.join(map(str, results['seeds']))}.",
        f"- Networks of width {preset['width']}, {preset['recipe']['max_epochs']} epochs of batches of "
        f"{preset['recipe']['batch_size']}; training attack PGD-{preset['attack'][2]} at epsilon "
        f"{preset['attack'][0]:g}, step_size {preset['attack'][1]:g}; evaluation at epsilon "
        f"{preset['evaluation'][0]:g}, step_size {preset['evaluation'][1]:g}, "
        f"{preset['evaluation'][2]} steps.",
        f"- Source: sha256 {results['source'][:16]} of the files that determine the results "
        "(`source_digest`).",
    ]
    diverged = [f"{r['arm']} seed {r['seed']}" for r in results["records"] if r["metrics"] is None]
    if diverged:
        lines.append(f"- Diverged, and left out: {', '.join(diverged)}.")
    lines += [f"- {note}" for note in results["notes"]]
    return "\n".join(lines)


def _pooled(side: int) -> str:
    return f", images averaged over {side} x {side} pixels" if side > 1 else ""


def _row(found: Effect, labels: Mapping[str, str]) -> list[str]:
    c = found.comparison
    right = labels[c.right] if c.factor == 1 else f"{c.factor:g} x ({labels[c.right]})"
    if c.left == c.right:
        pair, metric = labels[c.left], f"{c.metric} - {c.right_metric}"
    else:
        pair, metric = f"{labels[c.left]} - {right}", c.metric
    paper = "-" if c.paper is None else f"{c.paper:+.2f}"
    bounds = f"[{found.low:+.2f}, {found.high:+.2f}]" if found.seeds > 1 else "-"
    return [
        str(c.statement),
        pair,
        metric,
        paper,
        f"{found.mean:+.2f}",
        bounds,
        str(found.seeds),
        found.verdict,
    ]


def _short(arm: Mapping[str, Any]) -> str:
    """Label of an arm with the setting that differs along its ladder: `en2 rgsm lambda_1=0.02`."""
    varied = {"rvsm": "beta", "rvsm-unreplaced": "beta", "rgsm": "lambda_1"}.get(arm["method"])
    value = f" {varied}={arm['settings'][varied]:g}" if varied else ""
    if arm["method"] == "rgsm" and arm["key"] > f"{arm['network']}/rgsm/2":  # off the ladder
        value += f" lambda_2={arm['settings']['lambda_2']:g}"
    return f"{arm['network']} {arm['method']}{value}"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    percent = 100 * np.asarray(values)
    std = f" ± {percent.std(ddof=1):.2f}" if len(values) > 1 else ""
    return f"{percent.mean():.2f}{std}"


def _aligned(table: Table) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def _piped(table: Table) -> str:
    rows = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([rows[0], "|" + "---|" * len(table[0]), *rows[1:]])
