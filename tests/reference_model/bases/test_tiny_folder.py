"""What a tiny base knows is read from its folder, of either sort, without its weights."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lorweb_bench.errors import InputError
from reference_model.bases.tiny_folder import declared_base


def folder_of(folder: Path, config: Any) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "base.safetensors").write_bytes(b"weights")
    return str(folder)


@pytest.mark.parametrize(
    "config",
    [
        {"known_families": ["invert", "inside_circle"], "new_to_base": ["shear"]},
        {
            "trained_transformations": [
                "invert",
                "inside_circle-edit_invert-radius_0p3",
                "inside_circle-edit_gray-radius_0p3__invert",
            ]
        },
    ],
)
def test_families_are_those_that_it_lists_or_those_of_its_transformations(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    base = declared_base(folder_of(tmp_path / "wide", config))
    assert base.families == {"invert", "inside_circle"}
    assert (base.name, base.fingerprint) == ("wide", hashlib.sha256(b"weights").hexdigest())


@pytest.mark.parametrize(
    "config", [{}, [], {"known_families": []}, {"known_families": "all"}, {"known_families": [1]}]
)
def test_one_that_does_not_say_what_it_knows_is_refused(tmp_path: Path, config: Any) -> None:
    with pytest.raises(InputError, match="does not say which families this base knows"):
        declared_base(folder_of(tmp_path / "base", config))


def test_one_without_weights_is_refused(tmp_path: Path) -> None:
    name = folder_of(tmp_path / "base", {"known_families": ["invert"]})
    (tmp_path / "base" / "base.safetensors").unlink()
    with pytest.raises(InputError, match="no whole base there"):
        declared_base(name)


def test_it_is_read_without_torch() -> None:
    code = (
        "import sys; from lorweb_bench.data.declared_base import read_base; read_base('tiny'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
