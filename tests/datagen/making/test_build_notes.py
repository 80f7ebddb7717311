"""What was left out: sentences for people, counts for the manifest."""

import pickle

from datagen.making.build_notes import SHOWN, Note, left_out, told
from datagen.sources import Skipped


def test_notes_are_sentences_that_are_counted_by_filter() -> None:
    notes = [
        Note("12 pairs"),
        Note("a is like b", "duplicate"),
        Note("c is like b", "duplicate"),
        Note("d is small", "min_side"),
    ]
    assert left_out(notes) == {"duplicate": 2, "min_side": 1}
    assert told(notes) == [str(note) for note in notes]
    assert [note.filter for note in pickle.loads(pickle.dumps(notes))] == [
        note.filter for note in notes
    ]


def test_a_long_list_is_told_in_short_and_counted_in_full() -> None:
    notes = [Note(f"{i} is damaged", "unreadable") for i in range(SHOWN + 7)]
    assert len(told(notes)) == SHOWN + 1
    assert told(notes)[-1] == "unreadable: 7 more were left out"
    assert left_out(notes) == {"unreadable": SHOWN + 7}


def test_a_skipped_file_counts_as_unreadable_unless_its_reason_names_a_filter() -> None:
    assert Skipped("x.png", "it is empty").note.filter == "unreadable"
    assert Skipped("x.png", Note("copy of y", "duplicate")).note.filter == "duplicate"
    assert Skipped("x.png", "it is empty").note == "x.png: it is empty"


def test_names_of_files_steer_no_terminal() -> None:
    assert Note("a\nb\x1b[31m.png: é 图", "unreadable") == "a\\nb\\x1b[31m.png: é 图"
