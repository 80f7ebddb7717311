"""The promise of a declared base: what a manifest says that it knows, and does not know."""

from collections.abc import Collection

from lorweb_bench.data.composition import families_of
from lorweb_bench.data.declared_base import DeclaredBase, read_base
from lorweb_bench.data.manifest import Manifest
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import NEW_TO_BASE, SEEN_TIERS


def check_base(manifest: Manifest) -> tuple[list[str], str]:
    """Check the tier `new_to_base`, and what each transformation says of the declared base.

    Args:
        manifest: Of a full view; a public one says nothing of either.

    Returns:
        Problems, as sentences without their end, and a sentence on the declared base: what was
        compared with it, or why nothing was. That one is empty where no base is declared.
    """
    problems = _problems_within(manifest)
    if manifest.base is None:
        return problems, ""
    try:
        base = read_base(_place_of(manifest))
    except InputError as error:
        why = str(error).rstrip(".")
        return problems, f"What the base knows was taken from the manifest alone: {why}."
    if base.fingerprint != manifest.base.fingerprint:
        return problems, (
            f"What the base knows was taken from the manifest alone: the base {base.name} that is "
            f"here ({base.fingerprint[:12]}) is not the declared one "
            f"({manifest.base.fingerprint[:12]})."
        )
    problems += _problems_beside(manifest, base)
    return problems, (
        f"The declared base {base.name} ({base.fingerprint[:12]}) knows what the manifest says, "
        "by its own manifest."
    )


def _place_of(manifest: Manifest) -> str:
    """Where the declared base was when the dataset was built, or what it is called."""
    assert manifest.base is not None
    tiers = (manifest.recipe or {}).get("tiers")
    place = tiers.get("base") if isinstance(tiers, dict) else None
    return place if isinstance(place, str) and place else manifest.base.name


def _problems_within(manifest: Manifest) -> list[str]:
    """What in a manifest contradicts itself."""
    listed = manifest.transformations
    new = {name: info for name, info in listed.items() if info.tier == NEW_TO_BASE}
    trained: set[str] = set()
    for info in listed.values():
        if info.trained or info.tier in SEEN_TIERS:
            trained.update(families_of(info.family))
    problems = []
    if old := [n for n, info in new.items() if not trained.isdisjoint(families_of(info.family))]:
        problems.append(_said(old, "of new_to_base", "of families that are trained on"))
    if manifest.base is None:
        if new:
            problems.append(_said(new, "of new_to_base", "new to a base that is not declared"))
        if marked := [n for n, info in listed.items() if info.known_to_base is not None]:
            problems.append(_said(marked, "", "marked by what a base knows, and none is declared"))
        return problems
    if known := [n for n, info in new.items() if info.known_to_base]:
        problems.append(_said(known, "of new_to_base", "known to the declared base"))
    if silent := [n for n, info in listed.items() if info.known_to_base is None]:
        problems.append(_said(silent, "", "not marked by whether the declared base knows them"))
    return problems


def _problems_beside(manifest: Manifest, base: DeclaredBase) -> list[str]:
    """Where a manifest and the base's own differ."""
    listed = manifest.transformations
    problems = []
    for says in (True, False):
        wrong = [
            name
            for name, info in listed.items()
            if info.known_to_base is says and base.knows(info.family) is not says
        ]
        if wrong:
            known = f"marked as {'known' if says else 'new'} to the base {base.name}"
            problems.append(_said(wrong, "", f"{known}, whose own manifest says otherwise"))
    return problems


def _said(names: Collection[str], which: str, what: str) -> str:
    count = len(names)
    noun = "transformation" if count == 1 else "transformations"
    words = filter(None, (str(count), noun, which, "is" if count == 1 else "are", what))
    return f"{' '.join(words)}, {min(names)} for one"
