"""Write the pin of a suite that was built in the pinned environment.

For the suite's keeper: run it where `constraints.txt` is installed, and commit the file.

    python benchmarks/pin.py data/photos-mini  # writes suites/pinned/photos-mini-2.json

A pin that exists is never changed: a suite that comes out different needs another version, and says
what it supersedes.
"""

import argparse
import sys
from pathlib import Path

from lorweb_bench.data.dataset import open_suite
from lorweb_bench.runtime.files import write_atomic
from lorweb_bench.suites.pins import pin_of, write_pin

FOLDER = Path(__file__).parents[1] / "lorweb_bench" / "suites" / "pinned"


def main() -> None:
    """Write the pin of one suite."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("suite", type=Path)
    suite = open_suite(parser.parse_args().suite)
    path = FOLDER / f"{suite.name}-{suite.version}.json"
    text = write_pin(pin_of(suite))
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        sys.exit(
            f"{path} holds another pin; a suite's version never changes, so give the new one "
            "another version."
        )
    write_atomic(path, text)
    print(path)


if __name__ == "__main__":
    main()
