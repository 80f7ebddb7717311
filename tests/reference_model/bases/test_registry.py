"""Which base a name or a folder stands for, and what is said where it stands for none."""

import json
from pathlib import Path

import pytest

from lorweb_bench.errors import InputError
from reference_model.bases.flux_kontext import FluxKontext
from reference_model.bases.registry import base_kind, known_names, load_base
from reference_model.bases.tiny import TinyBase

KONTEXT = "black-forest-labs/FLUX.1-Kontext-dev"


def pipeline_folder(folder: Path, pipeline: str, transformer: str) -> Path:
    """The files of a pipeline that say its classes."""
    (folder / "transformer").mkdir()
    if pipeline:
        (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    (folder / "transformer" / "config.json").write_text(json.dumps({"_class_name": transformer}))
    return folder


def test_a_base_is_known_by_its_kind_by_its_repository_and_by_its_folder(
    tiny_flux_folder: Path, base_folder: Path
) -> None:
    assert base_kind("tiny") is base_kind(str(base_folder)) is TinyBase
    for name in ("flux-kontext", KONTEXT, str(tiny_flux_folder)):
        assert base_kind(name) is FluxKontext


def test_a_folder_without_an_index_is_known_by_its_transformer(tmp_path: Path) -> None:
    assert base_kind(str(pipeline_folder(tmp_path, "", "FluxTransformer2DModel"))) is FluxKontext


def test_an_unknown_base_names_the_nearest() -> None:
    with pytest.raises(InputError, match="no base 'flux-kontex'.*did you mean 'flux-kontext'"):
        base_kind("flux-kontex")
    with pytest.raises(InputError, match="there are tiny, flux-kontext"):
        load_base("nonsense")


def test_another_package_brings_a_base_by_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sketching.py").write_text(
        "from reference_model.bases.flux_kontext import FluxKontext\n\n\n"
        "class Sketch(FluxKontext):\n    kind = 'sketch'\n    published = {}\n"
    )
    about = tmp_path / "sketching-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sketching\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[lorweb_bench.bases]\nsketch = sketching:Sketch\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert base_kind("sketch").kind == "sketch"
    assert "sketch" in known_names()
    with pytest.raises(InputError, match="did you mean 'sketch'"):
        base_kind("sketsh")


def test_a_repository_that_is_not_known_can_be_brought_as_a_folder() -> None:
    with pytest.raises(InputError, match="`hf download someone/editor --local-dir FOLDER`"):
        base_kind("someone/editor")


@pytest.mark.parametrize("pipeline", ["StableDiffusion3Pipeline", ""])
def test_a_pipeline_of_another_class_is_told_what_it_is(tmp_path: Path, pipeline: str) -> None:
    folder = pipeline_folder(tmp_path, pipeline, "SD3Transformer2DModel")
    held = pipeline or "SD3Transformer2DModel"
    with pytest.raises(InputError, match=f"holds a {held}; a base is one of FluxKontextPipeline"):
        base_kind(str(folder))
