"""How the rows of a table are ranked: ranges of ranks by the headline, and places by the rest."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from leaderboard.board.rows import GROUP, Rank, Row
from lorweb_bench.protocol import TIERS

# methods that are compared in a table, the best ones: pairs of more would take hours, and hide each
# other
RANKED = 200


def table_of(row: Row) -> tuple[str, str, int]:
    return row.report.track, row.report.prompt_mode, row.report.exemplars


def rank_rows(rows: Sequence[Row], headline: str) -> None:
    """Give methods their rank within their table: the best ones, less those that leak."""
    for table in dict.fromkeys(table_of(row) for row in rows):
        methods = [
            row for row in rows if row.kind == "method" and table_of(row) == table and not row.leaks
        ]
        best = best_first(methods, headline)[:RANKED]
        for row, rank in zip(best, _ranks(best, headline), strict=True):
            row.rank = rank
        _places(methods, headline)


def _places(rows: Sequence[Row], headline: str) -> None:
    """Give rows their places by single groups and metrics: ranges that equal scores share.

    They follow from the scores as they are shown, so on a private suite they tell nothing more. Of
    the headline on unseen there is a rank instead, which says what is more than noise.
    """
    metrics = dict.fromkeys(metric for row in rows for metric in row.report.metrics)
    cells = [(group, headline) for group in ("seen", *TIERS)]
    cells += [(GROUP, metric) for metric in metrics if metric != headline]
    for group, metric in cells:
        scored = [(row, score) for row in rows if (score := row.score(group, metric))]
        worse = [-s.mean if s.higher_is_better else s.mean for _, s in scored]
        order = sorted(worse)
        for (row, _), value in zip(scored, worse, strict=True):
            rank_range = bisect_left(order, value) + 1, bisect_right(order, value)
            row.places[f"{group} {metric}"] = rank_range


def best_first(rows: Iterable[Row], headline: str) -> list[Row]:
    """Best first by the headline on unseen, of equal ones the earlier; rows without it last."""

    def place(row: Row) -> tuple[bool, float, int]:
        """What a row is ordered by: its score, then when it was first submitted."""
        score = row.score(GROUP, headline)
        sign = -1.0 if score is None or score.higher_is_better else 1.0
        first = min(run.submission.id for run in row.runs)
        return (score is None, sign * score.mean if score else 0.0, first)

    return sorted(rows, key=place)


def _ranks(rows: Sequence[Row], metric: str) -> list[Rank]:
    """The range of each row's rank among them, by the headline on unseen, paired by item."""
    from lorweb_bench.stats.aggregate import clusters_of, groups, mean, ordered, parts_of
    from lorweb_bench.stats.bootstrap import between_trainings
    from lorweb_bench.stats.significance import rank_ranges

    if len(rows) < 2:
        return [(1, 1)] * len(rows)
    tables = {row.anchor: ordered(row.per_sample, [metric]) for row in rows}
    items = next(iter(tables.values()))
    group, transformation = groups(items)[GROUP], items["transformation"]
    higher = all(score.higher_is_better for row in rows if (score := row.score(GROUP, metric)))
    values = {anchor: table[metric] for anchor, table in tables.items()}
    trainings = {}
    for row in rows:
        runs = [ordered(table, [metric])[metric] for table in row.tables]
        means = [mean(group, transformation, run) for run in runs]
        trainings[row.anchor] = between_trainings(means)
    ranks = rank_ranges(
        values, parts_of(group, transformation), clusters_of(items), higher, trainings=trainings
    )
    return [ranks[row.anchor] for row in rows]
