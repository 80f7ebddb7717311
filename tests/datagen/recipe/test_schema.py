"""Recipes: what is read, what is refused, and in which words."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from datagen.recipe.reading import find_recipe, read_recipe
from datagen.recipe.schema import Recipe
from lorweb_bench.errors import InputError

READY = ("photos-mini-train", "photos-mini")
TOP_LEVEL = [
    "name",
    "version",
    "supersedes",
    "extends",
    "seed",
    "source",
    "panel",
    "transformations",
    "splits",
    "tiers",
    "analogies_per_pair",
    "exemplars",
    "filters",
]


def test_top_level_keys_are_the_ones_of_the_design() -> None:
    assert list(Recipe.model_fields) == TOP_LEVEL


def _sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    inner = [
        f.annotation
        for f in model.model_fields.values()
        if isinstance(f.annotation, type) and issubclass(f.annotation, BaseModel)
    ]
    return [model, *(section for one in inner for section in _sections(one))]


def test_every_key_is_documented() -> None:
    missing = [
        f"{s.__name__}.{n}"
        for s in _sections(Recipe)
        for n, f in s.model_fields.items()
        if not f.description
    ]
    assert len(_sections(Recipe)) >= 6
    assert not missing


@pytest.mark.parametrize("name", READY)
def test_ready_recipes_are_found_by_name(name: str) -> None:
    assert read_recipe(name).name == name
    assert read_recipe(find_recipe(name)).name == name


def test_ready_recipes_share_what_keeps_their_sources_and_transformations_apart() -> None:
    train, suite = (read_recipe(name) for name in READY)
    assert (suite.seed, suite.panel) == (train.seed, train.panel)
    assert (suite.source.shares, suite.source.assign) == (train.source.shares, train.source.assign)
    for key in ("new_family", "new_parameters", "new_composition"):
        assert getattr(suite.tiers, key) == getattr(train.tiers, key)
    assert len(train.tiers.new_family) >= 8
    assert train.transformations.compositions.count >= 1000


@pytest.mark.parametrize(
    ("text", "found", "said"),
    [
        ("seed: 7", "sead: 7", ["line 3", "'sead'", "'seed'"]),
        ("  kind: scenes", "  kind: scenes\n  scene: 4", ["line 6", "'source.scene'", "'scenes'"]),
        ("    count: 24", "    cuont: 24", ["'transformations.compositions.cuont'", "'count'"]),
        (
            "  kind: scenes",
            "  kind: hugs",
            ["line 5: source.kind is 'hugs', and it must be 'photographs', 'scenes', 'pairs',"],
        ),
        ("  kind: scenes", "  kind: scene", ["did you mean 'scenes'"]),
        ("  square: 32", "  square: 7", ["panel.square is 7", "16"]),
        ("  square: 32", "  square: 32\n  long_edge: 64", ["either `square` or `long_edge`"]),
        ("  train: 60", "  train: 60\n  seen: 3", ["two datasets"]),
        ("  train: 60", "  trian: 60", ["trian", "train, dev"]),
        ("name: small-train\n", "", ["'name' is missing"]),
        ("seed: 7", "seed: [", ["not YAML"]),
        ("seed: 7", "seed: 7\nseed: 8", ["line 4", "'seed' stands in line 3 already"]),
        (
            "  kind: scenes",
            "  kind: scenes\n  kind: pairs",
            ["line 6", "'kind' stands in line 5 already"],
        ),
        ("seed: 7", "seed: 7\n\tname: x", ["line 4", "with spaces, not with tabs"]),
        ("seed: 7", "seed: true", ["line 3", "seed is true"]),
        ("seed: 7", "seed: yes", ["line 3", "seed is 'yes', and it must be a whole number"]),
        ("seed: 7", "seed:", ["line 3", "seed is empty, and it must be a whole number"]),
        ("seed: 7", "seed: 7\n1: 2", ["line 4", "the key '1' is no word"]),
        ("seed: 7", "seed: 7\n? [a]\n: 2", ["line 4", "a list or a mapping is no word"]),
        ("seed: 7", "seed: 2024-13-01", ["not YAML", "month must be in 1..12"]),
        ("seed: 7", "seed: !!python/object/apply:os.getcwd []", ["line 3", "not YAML"]),
        (
            "version: '1'",
            "version: 1.10",
            ["line 2", 'version is 1.1, and it must be text: in quotes, "1.1"'],
        ),
        ("version: '1'", 'version: "1\\n2"', ["line 2", "one line of text"]),
        ("version: '1'", f"version: {'x' * 200}", ["line 2", "text of at most 100 characters"]),
        (
            "  scenes: 60",
            "  scenes: 60\n  licence: ''",
            ["source.licence is '', and it must be text that is not empty"],
        ),
        ("version: '1'", "version: &v [*v]", ["line 2", "the anchor holds itself"]),
        ("version: '1'", "version: " + "[" * 3000 + "]" * 3000, ["nested too deeply"]),
        ("name: small-train", "name: My Suite", ["line 1", "lower-case letters, digits"]),
        (
            "panel:\n  square: 32",
            "panel: 32",
            ["panel is 32", "a section with keys of square, long_edge, format"],
        ),
        (
            "  train: 60",
            "  train: many",
            ["splits.train is 'many', and it must be a whole number or 'all'"],
        ),
        ("  train: 60", "  train: all", ["`splits` of photographs are numbers"]),
        ("analogies_per_pair: 2", "analogies_per_pair: 0", ["`analogies_per_pair` is 1 or more"]),
        (
            "    train: 0.3",
            "    trian: 0.3",
            ["source.shares has no 'trian'; did you mean 'train'?"],
        ),
        (
            "    train: 0.3",
            "    train: .nan",
            ["source.shares.train is nan, and it must be a finite number"],
        ),
        ("  train: 60\n  dev: 10", "  seen: 60", ["a suite needs `unseen`"]),
        (
            "analogies_per_pair: 2",
            "filters: {minimum_change: 9, maximum_change: 9}",
            ["line 41", "lets nothing pass"],
        ),
        (
            "  square: 32",
            "  square: 32\n  format: jpeg",
            ["panel.format is 'jpeg', and it must be 'png', 'jpg' or 'webp'"],
        ),
        (
            "  scenes: 60",
            "  scenes: 60\n  sha256: {a.png: '00'}",
            ["line 7", "`sha256` is for photographs in a folder"],
        ),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_sentence(
    write, text: str, found: str, said: list[str]
) -> None:  # type: ignore[no-untyped-def]
    path = write()
    before = path.read_text()
    assert text in before
    path.write_text(before.replace(text, found, 1))
    with pytest.raises(InputError) as error:
        read_recipe(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    for words in said:
        assert words in str(error.value)


def test_settings_override_any_key(write) -> None:  # type: ignore[no-untyped-def]
    recipe = read_recipe(
        write(),
        [
            "seed=9",
            "splits={train: 5}",
            "transformations.compositions.count=3",
            "filters.attempts=2",
            "source.scenes=80",
        ],
    )
    assert (recipe.seed, recipe.splits, recipe.transformations.compositions.count) == (
        9,
        {"train": 5},
        3,
    )
    assert (recipe.filters.attempts, recipe.source.scenes) == (2, 80)


def test_another_path_sets_the_assigned_photographs_aside() -> None:
    own = read_recipe("photos-mini", ["source.path=photos"])
    assert (own.source.path, own.source.assign) == ("photos", {})
    assert read_recipe("photos-mini", ["source.scenes=9"]).source.assign
    assert read_recipe(
        "photos-mini", ["source.path=photos", "source.assign={a: [mine]}"]
    ).source.assign == {"a": ("mine",)}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("seed", "key=value"),
        ("seeed=3", "--set: there is no key 'seeed' in a recipe; did you mean 'seed'?"),
        ("filters.atempts=3", "did you mean 'attempts'?"),
        ("seed.x=3", "holds the value 7"),
        ("seed=[", "not YAML"),
        ("panel={square: 32, square: 48}", "the key 'square' stands in line 1 already"),
        ("panel.square=no", "panel.square"),
        (
            "transformations.families=invert",
            "transformations.families is 'invert', and it must be 'all' or a list",
        ),
        (
            "transformations.families=[invert, 3]",
            'families.1 is 3, and it must be text: in quotes, "3"',
        ),
        ("source.directions=both", "`directions` is for pairs"),
    ],
)
def test_a_wrong_setting_is_refused(write, setting: str, said: str) -> None:
    with pytest.raises(InputError, match=".*") as error:
        read_recipe(write(), [setting])
    assert said in str(error.value)


def test_no_recipe_names_the_ready_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="photos-mini"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="did you mean 'photos-mini'"):
        read_recipe("photos-mimi")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(InputError, match="is no recipe"):
        read_recipe(tmp_path / "list.yaml")


def test_ready_recipes_stand_as_yaml_and_use_known_families() -> None:
    from datagen.planning.tiers import held_out_parameters, trained_families
    from datagen.transformations import library

    for name in READY:
        recipe = read_recipe(name)
        assert yaml.safe_load(find_recipe(name).read_text())["name"] == name
        families = trained_families(recipe, library())
        kinds = {library().families[f].kind for f in families}
        assert "geometry" in kinds
        assert len(held_out_parameters(recipe, library())) >= 15
        if not recipe.is_suite:
            assert len(families) + len(recipe.tiers.new_family) >= 24


def test_the_line_is_named_of_what_stands_in_a_list(write) -> None:  # type: ignore[no-untyped-def]
    tasks = "[{name: snow, instruction: make it snow},\n {name: fog, instrution: make it foggy}]"
    path = write()
    text = path.read_text().replace(
        "kind: scenes\n  scenes: 60",
        f"kind: editor\n  path: photos\n  editor:\n    model: m\n    tasks: {tasks}",
    )
    path.write_text(text)
    with pytest.raises(
        InputError,
        match=r"line 10: there is no key 'source\.editor\.tasks\.1\.instrution' .* mean "
        r"'instruction'",
    ):
        read_recipe(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("name: café".encode("latin-1"), "line 1 is not UTF-8; save it as UTF-8"),
        (b"", "is no recipe: it needs the keys name, version, seed, source, panel, splits"),
        (b"name: a\0b", "line 1: it is not YAML"),
        (
            b"a: &a [x]\n"
            + b"".join(
                b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9))
                for c in range(98, 120)
            ),
            "no key 'a'",
        ),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "r.yaml").write_bytes(data)
    with pytest.raises(InputError) as error:
        read_recipe(tmp_path / "r.yaml")
    assert said in str(error.value)
    assert len(str(error.value)) < 600
    with pytest.raises(InputError, match="is a folder; a recipe is a YAML file"):
        read_recipe(tmp_path)


def test_a_byte_order_mark_and_other_line_ends_do_not_matter(write) -> None:
    path = write()
    plain = read_recipe(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_recipe(path) == plain
    assert read_recipe(path, ['source.attribution="Ann\\n Bob "']).source.attribution == "Ann Bob"
    assert read_recipe(path, ["tiers=", "tiers.new_family=[sobel]"]).tiers.new_family == (
        "sobel",
    )  # an empty section is filled


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["tiers.new_to_base=[shear]"], "does not know 'shear', and `base` declares none"),
        (
            ["tiers.base=tiny", "tiers.new_to_base=[sobel]"],
            "'sobel' is in `new_family` and in `new_to_base`; keep it in one",
        ),
    ],
)
def test_what_is_new_to_a_base_needs_one_and_is_of_one_tier(
    write, settings: list[str], said: str
) -> None:
    with pytest.raises(InputError, match="tiers") as error:
        read_recipe(write(), settings)
    assert said in str(error.value)


def test_a_recipe_without_a_base_is_written_as_it_was(write) -> None:
    """Its digest is in manifests, and in the claims of builds that were begun."""
    written = read_recipe(write()).model_dump(mode="json")["tiers"]
    assert not {"base", "new_to_base"} & set(written)
    declared = read_recipe(write(), ["tiers.base=tiny"]).model_dump(mode="json")["tiers"]
    assert declared == written | {"base": "tiny", "new_to_base": []}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "transformations.families=[invert]",
            "`transformations` is for photographs and scenes; the kind pairs has edits already",
        ),
        ("tiers.new_family=[invert]", "hold out tasks, tiers.new_task"),
        ("tiers.base=tiny", "the kind pairs has no families that a base could know"),
        (
            "source.sha256={a.png: ab}",
            "`sha256` is for photographs in a folder, not for the kind pairs",
        ),
        (
            "source.credits=c.csv",
            "`credits` is for photographs in a folder, not for the kind pairs",
        ),
        ("source.scenes=4", "`scenes` is for photographs, not for the kind pairs"),
        (
            "source.editor.arguments={when: 2024-01-01}",
            "numbers, text, lists and mappings of them alone are handed on",
        ),
    ],
)
def test_what_pairs_would_pass_over_is_refused(setting: str, said: str) -> None:
    with pytest.raises(InputError, match="--set: ") as error:
        read_recipe("pairs", ["source.path=x", setting])
    assert said in str(error.value)


def test_a_ready_recipe_is_found_beside_a_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`datagen build photos -o photos` goes on when it is started again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert read_recipe("photos").name == "photos"
