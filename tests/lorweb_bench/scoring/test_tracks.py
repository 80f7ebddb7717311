"""The track of a result, and how new the suite is to the method: from manifests."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.format import MethodId, PredictionsManifest, suite_id
from lorweb_bench.reports.report import Report, TrainedOn, open_report
from lorweb_bench.scoring.evaluate import evaluate, score
from lorweb_bench.scoring.tracks import novelty, track_of, unseen_families

METRICS = ["mse"]


def made(suite: Dataset, track: str = "closed", **said: Any) -> PredictionsManifest:
    method = MethodId.model_validate({"name": "mine", **said})
    return PredictionsManifest(suite=suite_id(suite), method=method, samples=48, track=track)


def dataset(suite: Dataset) -> dict[str, str | None]:
    return {"name": "its own", "fingerprint": suite.manifest.tiers_relative_to}


@pytest.mark.parametrize(
    ("claim", "stated", "expected"),
    [
        ("closed", "own", "closed"),
        ("closed", ["own"], "closed"),
        ("closed", [], "closed"),
        ("closed", {"name": "other", "fingerprint": "1" * 64}, "open"),
        ("closed", ["own", {"name": "other", "fingerprint": "1" * 64}], "open"),
        ("closed", {"name": "the web"}, "open"),
        ("closed", None, "open"),
        ("open", "own", "open"),
    ],
)
def test_closed_is_what_was_trained_on_the_suites_own_dataset_alone(
    small_suite, claim, stated, expected
):
    own = dataset(small_suite)
    one = [own if s == "own" else s for s in stated] if isinstance(stated, list) else stated
    said = {} if one is None else {"training_dataset": own if one == "own" else one}
    manifest = made(small_suite, claim, **said)
    found = novelty(manifest, small_suite)
    assert track_of(manifest, small_suite, found) == expected
    assert (found.trained_on is None) == (stated is None)


def test_who_scores_can_say_what_a_method_was_trained_on(small_suite):
    manifest = made(small_suite, "open")
    own = TrainedOn.model_validate(dataset(small_suite))
    found = novelty(manifest, small_suite, [own])
    assert track_of(manifest, small_suite, found, given=True) == "closed"
    with pytest.raises(InputError, match="stands alone"):
        novelty(manifest, small_suite, ["nothing", own])
    with pytest.raises(InputError, match="nowhere"):
        novelty(manifest, small_suite, ["nowhere"])
    with pytest.raises(InputError, match="'mine' describes its training_dataset as 'photos'"):
        novelty(made(small_suite, training_dataset="photos"), small_suite)


def test_a_row_says_how_many_unseen_families_were_trained_on(small_suite, tmp_path: Path):
    """By the manifest of the training dataset: those of its trained transformations alone."""
    unseen = sorted(unseen_families(small_suite.manifest))
    content = json.loads((small_suite.path / "dataset.json").read_text())
    kept = {}
    for name, info in content["transformations"].items():
        if info["family"] in unseen[:3]:
            kept[name] = {**info, "trained": info["family"] != unseen[2]}
    content |= {"transformations": kept, "fingerprint": "2" * 64, "name": "elsewhere"}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    manifest = made(small_suite)
    for path in (tmp_path, tmp_path / "dataset.json"):
        found = novelty(manifest, small_suite, [path])
        assert found.sentence == f"trained on 2 of the {len(unseen)} unseen families"
        assert track_of(manifest, small_suite, found, given=True) == "open"
    assert novelty(manifest, small_suite).sentence == "not stated"
    elsewhere = made(small_suite, training_dataset={"name": "x", "fingerprint": "3" * 64})
    assert novelty(elsewhere, small_suite).sentence == "not stated"
    nothing = novelty(manifest, small_suite, ["nothing"])
    assert nothing.sentence == f"trained on 0 of the {len(unseen)} unseen families"


def test_what_is_new_to_the_base_is_unseen_and_not_trained_on(suite_with_base):
    listed = suite_with_base.manifest.transformations.values()
    new = {info.family for info in listed if info.tier == "new_to_base"}
    assert new and new <= unseen_families(suite_with_base.manifest)
    own = novelty(made(suite_with_base, training_dataset=dataset(suite_with_base)), suite_with_base)
    held_out = {info.family for info in listed if info.tier == "new_family"} | new
    assert own.trained_families == own.unseen_families - len(held_out)


class Claims:
    """A method that says it is closed, and not what it was trained on."""

    name = "claims"
    track = "closed"

    def predict(self, triplets: list[Any]) -> list[Image.Image]:
        return [triplet.b for triplet in triplets]


class Trained(Claims):
    """The same, with the dataset that it was trained on."""

    name = "trained"

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint

    def describe(self) -> dict[str, Any]:
        return {"training_dataset": {"name": "some", "fingerprint": self.fingerprint}}


def test_a_report_of_an_open_method_has_no_gap_whatever_it_claims(small_suite, tmp_path: Path):
    claimed = evaluate(Claims(), small_suite, METRICS, out=tmp_path / "claimed")
    assert (claimed.track, claimed.gap) == ("open", None)
    page = (tmp_path / "claimed/index.html").read_text()
    assert "track: open" in page and "not stated" in page
    own = evaluate(Trained(str(small_suite.manifest.tiers_relative_to)), small_suite, METRICS)
    assert own.track == "closed" and own.gap
    other = evaluate(Trained("4" * 64), small_suite, METRICS)
    assert (other.track, other.gap) == ("open", None)
    told = score(
        tmp_path / "claimed/predictions",
        small_suite,
        METRICS,
        trained_on=["nothing"],
        out=tmp_path / "told",
    )
    assert told.track == "closed" and "--trained-on nothing" in (told.command or "")
    assert open_report(tmp_path / "told").novelty == told.novelty


def test_the_projects_own_methods_are_trained_on_nothing(small_suite):
    report = evaluate("copy-b", small_suite, METRICS)
    assert report.track == "closed" and report.novelty is not None
    assert report.novelty.trained_on == ()


def test_an_older_report_without_novelty_is_read(small_suite):
    report = evaluate("copy-b", small_suite, METRICS).model_dump(mode="json")
    assert (
        Report.model_validate({k: v for k, v in report.items() if k != "novelty"}).novelty is None
    )
