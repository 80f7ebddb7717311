"""Shuffled pairs: each item is shown the pair of another transformation.

How much does a method use the analogy at all?
"""

import random
import tarfile
from functools import lru_cache
from typing import Any

from PIL import Image

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import decode
from lorweb_bench.data.samples import Record
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.reader import Place


def shuffled_pairs(suite: Dataset, seed: int) -> dict[str, str]:
    """For each item another one of the same split and size, and of another transformation, by key.

    It depends on the seed and the records alone.

    Raises:
        InputError: The suite is a public view, or an item has no such other.
    """
    if suite.public:
        raise InputError(
            f"Shuffled pairs are of other transformations, which {suite.path}, "
            "a public view, does not name."
        )
    chosen: dict[str, str] = {}
    for split in suite.scored_splits:
        records = sorted(suite.records(split), key=lambda r: r.id)
        by_size: dict[tuple[int, int], list[Record]] = {}
        for record in records:
            by_size.setdefault((record.width, record.height), []).append(record)
        for record in records:
            others = by_size[record.width, record.height]
            draw = random.Random(f"{seed}:{record.id}")
            if len({r.transformation for r in others}) < 2:
                raise InputError(
                    f"{suite.path}: no item of {split} has the size of {record.id!r} "
                    "and another transformation."
                )
            while (other := draw.choice(others)).transformation == record.transformation:
                pass
            chosen[record.id] = other.id
    return chosen


class PanelReader:
    """Reads the panels of any item.

    A shard's members are located once, when the first item is asked for.
    """

    def __init__(self, suite: Dataset) -> None:
        self._suite = suite
        self._places: dict[str, Place] = {}

    def pair(self, key: str) -> dict[str, Any]:
        """`a` and `a_prime` of an item, decoded; InputError as for `panel`."""
        return {role: self.panel(key, role) for role in ("a", "a_prime")}

    def panel(self, key: str, role: str) -> Image.Image:
        """One panel of an item, decoded.

        Raises:
            InputError: The suite has no such item or panel, or the image is damaged.
        """
        if not self._places:
            self._locate()
        if (location := self._places.get(f"{key}.{role}")) is None:
            raise InputError(f"{self._suite.path} has no sample {key!r}.")
        return decode(location.read(), f"{self._suite.path}: sample {key!r} {role}")

    def _locate(self) -> None:
        for split in self._suite.scored_splits:
            for entry in self._suite.split(split).shards:
                self._suite.check_shard(entry)
                path = self._suite.path / entry.path
                with tarfile.open(path, "r:") as tar:
                    for member in tar:
                        self._places[member.name.rpartition(".")[0]] = Place(
                            path, member.offset_data, member.size
                        )


panel_reader = lru_cache(maxsize=1)(PanelReader)
