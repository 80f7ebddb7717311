"""A declared base says what it knows, and datasets without one are written as before."""

import json

import pytest

from lorweb_bench.data.declared_base import read_base
from lorweb_bench.data.manifest import Manifest, TransformationInfo
from lorweb_bench.errors import InputError

EMPTY = {
    "format": "lorweb-bench/dataset",
    "format_version": 1,
    "name": "n",
    "version": "1",
    "view": "full",
    "splits": {},
    "fingerprint": "f" * 64,
}
BASE = {"name": "tiny", "fingerprint": "0" * 64}


def test_the_base_that_ships_is_read_by_name() -> None:
    base = read_base("tiny")
    assert base.name == "tiny" and len(base.fingerprint) == 64
    assert base.knows("rotate") and base.knows("rotate+invert")
    assert not base.knows("no_such_family") and not base.knows("rotate+no_such_family")


def test_a_base_that_is_not_there_is_refused_with_the_way_out() -> None:
    with pytest.raises(InputError, match="nowhere: no base there; name `tiny` or a folder"):
        read_base("nowhere")


def test_a_mark_is_added_and_nothing_else_changed() -> None:
    base = read_base("tiny")
    marked = base.marked({"a": {"family": "invert", "kind": "colour"}, "b": {"family": "new"}})
    assert marked == {
        "a": {"family": "invert", "kind": "colour", "known_to_base": True},
        "b": {"family": "new", "known_to_base": False},
    }


def test_without_a_base_a_manifest_has_no_word_of_one() -> None:
    """So datasets that were made before keep their bytes and their targets' fingerprint."""
    info = TransformationInfo(family="invert")
    plain = Manifest.model_validate({**EMPTY, "transformations": {"invert": info}})
    assert "base" not in json.dumps(plain.model_dump(mode="json"))
    assert plain.base_words is None


def test_with_a_base_every_mark_is_written() -> None:
    listed = {"x": {"family": "x", "known_to_base": False}, "y": {"known_to_base": True}}
    manifest = Manifest.model_validate({**EMPTY, "base": BASE, "transformations": listed})
    written = manifest.model_dump(mode="json")
    assert written["base"] == BASE
    assert written["transformations"]["x"]["known_to_base"] is False
    assert (
        manifest.base_words == f"tiny ({'0' * 64}), which knows 1 of the 2 listed transformations"
    )
