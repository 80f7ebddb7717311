"""What was left out: sentences for people, counts for the manifest."""

import pickle

from datagen.making.build_notes import SHOWN, LeftOut, Note, left_out, sentences


def test_what_was_left_out_is_counted_by_filter_and_sentences_are_not() -> None:
    notes: list[Note] = [
        "12 pairs",
        LeftOut("a", "it looks like b", "duplicate"),
        LeftOut("c", "it looks like b", "duplicate"),
        LeftOut("d", "it is small", "min_side"),
    ]
    assert left_out(notes) == {"duplicate": 2, "min_side": 1}
    assert sentences(notes) == [
        "12 pairs",
        "a: it looks like b",
        "c: it looks like b",
        "d: it is small",
    ]
    assert pickle.loads(pickle.dumps(notes)) == notes


def test_a_long_list_is_told_in_short_and_counted_in_full() -> None:
    notes = [LeftOut(f"{i}.png", "it is damaged") for i in range(SHOWN + 7)]
    assert len(sentences(notes)) == SHOWN + 1
    assert sentences(notes)[-1] == "unreadable: 7 more were left out"
    assert left_out(notes) == {"unreadable": SHOWN + 7}


def test_names_of_files_steer_no_terminal() -> None:
    assert str(LeftOut("a\nb\x1b[31m.png", "é 图")) == "a\\nb\\x1b[31m.png: é 图"
    assert sentences(["a\nb"]) == ["a\\nb"]
