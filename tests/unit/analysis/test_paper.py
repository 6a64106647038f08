"""The paper's rows and its headline."""

from analysis import paper


def test_the_papers_rows_are_for_its_dataset() -> None:
    rows = {row["label"]: row for row in paper.rows_for("cifar10")}
    assert len(rows) == len(paper.ROWS) == len(paper.percent())
    best = rows["En5ResNet20, RGSM, lambda_1 2e-2"]
    assert (best["natural_accuracy"], best["robust_accuracy"]) == (0.8053, 0.5063)
    assert best["channel_sparsity"] == 0.5336
    assert "weight_sparsity" not in best
    assert rows["ResNet20, dense"]["weight_sparsity"] == rows["ResNet20, dense"]["channel_sparsity"] == 0
    assert paper.rows_for("digits") == []


def test_the_headline_is_that_of_the_rows() -> None:
    rows = {row.key: row for row in paper.ROWS}
    mine, other = (rows[key] for key in paper.HEADLINE_ROWS)
    assert (
        f"{100 * (mine.natural_accuracy - other.natural_accuracy):.2f} points more natural" in paper.HEADLINE
    )
    assert f"{100 * (mine.robust_accuracy - other.robust_accuracy):.2f} points more acc" in paper.HEADLINE
    assert mine.sparsity >= 2 * other.sparsity
