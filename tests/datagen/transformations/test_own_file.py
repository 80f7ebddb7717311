"""A user's own file of families: it joins the library, and each family is tried beforehand."""

import json

import numpy as np
import pytest

from datagen.transformations import library, load_families
from lorweb_bench.errors import InputError

OWN_FAMILY = """
import numpy as np
from datagen.transformations import Parameter, family, presets
from datagen.transformations.colour import invert

SHIFT = 7

@family("own_roll", kind="geometry", presets=presets("times", 1),
        times=Parameter("sevens", 1, 9, whole=True), instruction="roll {times} sevens down")
def own(image, times):
    return np.roll(image, SHIFT * times, 0)
"""


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def test_a_users_families_join_the_library(tmp_path, image: np.ndarray) -> None:
    file = tmp_path / "own families.py"
    file.write_text(OWN_FAMILY)
    own = load_families(file)
    larger = library().extended(own)
    assert np.array_equal(
        larger.apply({"family": "own_roll", "parameters": {"times": 2}}, image),
        np.roll(image, 14, 0),
    )
    assert "own_roll-times_1" in larger.singles()
    assert "own_roll" not in library().families
    with pytest.raises(InputError, match="'own_roll'"):
        larger.extended(own)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FAMILIES = ()", "declares no family"),
        ("from datagen.transformations.colour import invert", "declares no family"),
        ("1 / 0", "ZeroDivision"),
    ],
)
def test_a_users_file_without_families_is_refused(tmp_path, text: str, message: str) -> None:
    file = tmp_path / "own.py"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        load_families(file)
    with pytest.raises(InputError, match="is no file"):
        load_families(tmp_path / "missing.py")


FAULTY = """
import numpy as np
from datagen.transformations import Parameter, family
@family("lift", kind="tone", deterministic=True, by=Parameter("rise", 0, 255, unit="levels"),
        presets=({"by": 60}, {"by": 90}), instruction="lift by {by}")
def lift(image, by):
    return np.clip(image.astype(int) + by, 0, 255).astype(np.uint8)
"""


@pytest.mark.parametrize(
    ("text", "put", "said"),
    [
        ("def lift", "def (lift", "cannot be run (SyntaxError"),
        (
            "import numpy as np",
            "import numpy as np, nothing_such",
            "cannot be run (ModuleNotFoundError",
        ),
        (
            "import numpy as np",
            "import numpy as np, sys; sys.exit(3)",
            "cannot be run (SystemExit: 3)",
        ),
        ("return np", "return None and np", "gave no array but NoneType"),
        (
            "return np",
            "return image[:2] if by else np",
            "gave uint8 (2, 64, 3); it must give uint8 (48, 64, 3)",
        ),
        ("(np.uint8)", "(np.float32)", "gave float32"),
        ("return np", "raise RuntimeError('a\\nb') or np", "(RuntimeError: a b)"),
        ("return np", "image[:] = 0; return np", "changes the picture that it is given"),
        (
            ", by):",
            ", by):\n    image = np.random.permutation(image)",
            "declared deterministic and gives two results",
        ),
        ('"lift by {by}"', "lambda: 'x'", "has no words for {'by': 60}"),
        ('"lift by {by}"', "lambda by: None", "gives None for words"),
        ('"lift", kind', '"invert", kind', "the family 'invert' is in the library already"),
        ('"lift", kind', '"Lift it", kind', "snake_case"),
        ('"lift", kind', "5, kind", "has a wrong name, 5"),
        ('kind="tone"', "kind=None", "has a wrong kind, None"),
        ("deterministic=True", "deterministic=1", "has a wrong deterministic, 1"),
        ('"lift by {by}"', "None", "has a wrong instruction, None"),
        ('Parameter("rise", 0, 255, unit="levels")', '"0-255"', "has a wrong parameters"),
        ("0, 255", "0", "needs both low and high, or choices, or longest"),
        ("by=P", "to=P", "its function takes ['by'] beside 'image'"),
        ('{"by": 60}', "60", "has a wrong presets"),
        ('{"by": 60}', '{"to": 60}', "given were to"),
        ('{"by": 60}', '{"by": 300}', "takes by (rise, 0 to 255 levels); by was 300"),
        ('{"by": 60}', '{"by": float("nan")}', "by was nan"),
        ('{"by": 60}', '{"by": np.ones(2)}', "by was array"),
    ],
)
def test_a_users_family_is_tried_before_anything_is_built(
    tmp_path, text: str, put: str, said: str
) -> None:
    file = tmp_path / "own.py"
    assert text in FAULTY
    file.write_text(FAULTY.replace(text, put, 1))
    with pytest.raises(InputError) as error:
        library().with_file(file)
    assert said in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_users_presets_may_be_numpys_numbers(tmp_path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        FAULTY.replace('({"by": 60}, {"by": 90})', '[{"by": by} for by in np.arange(30, 91, 30)]')
    )
    found = {
        name: spec
        for name, spec in library().with_file(file).singles().items()
        if spec["family"] == "lift"
    }
    assert json.loads(json.dumps(found)) == found
    assert list(found) == ["lift-by_30", "lift-by_60", "lift-by_90"]
