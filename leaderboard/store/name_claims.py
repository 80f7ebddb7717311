"""Whose a method's name is: it belongs to whoever had a submission with it accepted first."""

import re
import unicodedata

from sqlalchemy import select
from sqlalchemy.orm import Session

from leaderboard.store.tables import SiteRow, SubmissionRow
from lorweb_bench.methods.reference_rows import BOUNDS, TRIVIAL

REFERENCES = (*TRIVIAL, *BOUNDS)
# Letters and digits that a reader takes for one another (the ASCII part of Unicode's UTS 39).
LOOK_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "5": "s"})
PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"))


def skeleton(name: str) -> str:
    """What is left of a name once everything is gone that a reader may overlook.

    Two names with one skeleton look alike: case, spaces, punctuation and combining marks do not
    tell them apart, nor do l and 1, O and 0, rn and m.

    >>> skeleton("Copy B") == skeleton("copy-b")
    True
    >>> skeleton("mode1-l") == skeleton("model-1")
    True
    """
    plain = unicodedata.normalize("NFKD", name).casefold()
    letters = re.sub(r"[\W_]", "", "".join(c for c in plain if not unicodedata.combining(c)))
    letters = (letters or plain).translate(LOOK_ALIKE)
    for pair, letter in PAIRS:
        letters = letters.replace(pair, letter)
    return letters[:200]


RESERVED = frozenset(map(skeleton, REFERENCES))


def taken(session: Session, method: str, team_id: int | None) -> str | None:
    """Why a team cannot have this name on the board, or None where it can.

    The names of the reference rows are the keeper's, who runs them. Any other name, and all that
    look like it, belongs to the owner of the first submission that was accepted with it, also after
    that was withdrawn. Without this anybody could take the place of another's row, or be averaged
    into it. Who asks holds the board's row until the transaction ends, so of two teams at once one
    is first.
    """
    key = skeleton(method)
    if team_id is not None and key in RESERVED:
        name = next(name for name in REFERENCES if skeleton(name) == key)
        return (
            f"{method} is the name of a reference row, which the keeper runs"
            f"{'' if method == name else f' ({name})'}; give your method another one."
        )
    session.execute(select(SiteRow.revision).with_for_update())
    first = session.scalars(
        select(SubmissionRow).where(SubmissionRow.name_key == key).order_by(SubmissionRow.id)
    ).first()
    if first is None or first.team_id == team_id:
        return None
    whose = "the keeper" if first.team_id is None else "another team"
    alike = "" if first.method == method else f", which {method} looks like,"
    return (
        f"The name {first.method}{alike} belongs to {whose} on this board; "
        "give your method another one."
    )
