"""What is kept stays within its limit, and is made again only when it was let go."""

from hypothesis import given
from hypothesis import strategies as st

from datagen.making.kept import Kept


@given(st.lists(st.integers(1, 9), max_size=60), st.integers(1, 30))
def test_values_used_lately_are_kept_within_the_limit(wanted: list[int], limit: int) -> None:
    kept: Kept[int, bytes] = Kept(limit, len)
    lately: list[int] = []  # the model: the newest last
    for size in wanted:
        made: list[int] = []
        assert kept.get(
            size, lambda size=size, made=made: made.append(size) or bytes(size)
        ) == bytes(size)  # type: ignore[misc, func-returns-value]
        assert bool(made) == (size not in lately)
        lately = [other for other in lately if other != size] + [size]
        while len(lately) > 1 and sum(lately) > limit:
            lately.pop(0)
