"""Folds: who trains, validates and tests, by hand; nobody in two parts unless that is what was asked for."""

import itertools
from collections import Counter

import pytest

from sertool.corpora import Row
from sertool.corpora.folds import hold_out, leave_corpus_out, leave_one_out, random_split
from sertool.errors import SertoolError, UsageError


def row(number, corpus="c", speaker="", session="", split=""):
    return Row(f"{corpus}/{number}.wav", corpus, speaker or f"s{number}", session=session, split=split)


def sessions(count=5, clips=4, corpus="c"):
    """Two speakers a session."""
    return [
        row(f"{s}-{n}", corpus, f"{s}{'FM'[n % 2]}", str(s))
        for s, n in itertools.product(range(1, count + 1), range(clips))
    ]


def names(rows, key="session"):
    return sorted({getattr(row, key) for row in rows})


def test_a_session_tests_the_next_validates_three_train():
    rows, always = sessions(), [row(n, "d") for n in range(3)]
    folds = leave_one_out(rows, "session", always)
    assert [fold.name for fold in folds] == ["1", "2", "3", "4", "5"]
    for fold, parts in zip(folds, ("1 2 345", "2 3 145", "3 4 125", "4 5 123", "5 1 234"), strict=True):
        test, val, train = parts.split()
        assert names(fold.test) == list(test)
        assert names(fold.val) == list(val)
        assert names(row for row in fold.train if row.corpus == "c") == list(train)
        assert [row for row in fold.train if row.corpus == "d"] == always
        assert len(fold.train) + len(fold.val) + len(fold.test) == len(rows) + 3
    assert sorted(row.file for fold in folds for row in fold.test) == sorted(row.file for row in rows)


def test_sessions_of_two_corpora_are_not_one():
    folds = leave_one_out(sessions(2, corpus="a") + sessions(2, corpus="b"), "session")
    assert [fold.name for fold in folds] == ["a-1", "a-2", "b-1", "b-2"]
    assert {row.corpus for row in folds[0].test} == {"a"}


def test_speakers_are_put_together_to_folds_as_even_as_may_be():
    counts = {"a": 9, "b": 5, "c": 4, "d": 3, "e": 3}
    rows = [row(f"{name}{n}", speaker=name) for name, count in counts.items() for n in range(count)]
    folds = leave_one_out(rows, "speaker", number=3)
    assert [fold.name for fold in folds] == ["1", "2", "3"]
    assert [(names(fold.test, "speaker"), len(fold.test)) for fold in folds] == [
        (["a"], 9),
        (["b", "e"], 8),
        (["c", "d"], 7),
    ]
    assert [fold.name for fold in leave_one_out([row(n) for n in range(12)], "speaker", number=10)][:2] == ["01", "02"]


@pytest.mark.parametrize(
    ("rows", "by", "number", "message"),
    [
        (sessions(2), "session", 0, "leaving one session out needs at least three; there are 2: 1, 2"),
        (sessions(5), "session", 2, "needs at least three"),
        ([row(n) for n in range(2)], "speaker", 0, "leaving one speaker out needs at least three; there are 2: s0, s1"),
        ([row(n) for n in range(4)], "session", 0, r"c/0\.wav: c has no session for it; .* folds\.by"),
    ],
)
def test_too_few_groups_or_a_row_of_none_are_named(rows, by, number, message):
    with pytest.raises(UsageError, match=message):
        leave_one_out(rows, by, number=number)


def test_a_speaker_of_two_sessions_or_of_what_always_trains_is_refused():
    rows = [*sessions(), row("x", speaker="1F", session="2")]
    with pytest.raises(SertoolError, match="speaker '1F' of c is in both"):
        leave_one_out(rows, "session")
    with pytest.raises(SertoolError, match="speaker '2M' of c is in both"):
        leave_one_out(sessions(), "session", [row("x", speaker="2M")])


def splits(corpus, speakers=4):
    return [
        row(f"{s}-{n}", corpus, f"s{s}", split="val" if s == 0 else "train") for s in range(speakers) for n in range(2)
    ]


def test_a_corpus_tests_and_the_others_keep_their_splits():
    always = [row("x", "d")]
    folds = leave_corpus_out(splits("b") + splits("a") + splits("c"), "train", "val", always)
    assert [fold.name for fold in folds] == ["a", "b", "c"]
    for fold in folds:
        others = {"a", "b", "c"} - {fold.name}
        assert {row.corpus for row in fold.test} == {fold.name}
        assert len(fold.test) == 8  # whatever their split
        assert {row.corpus for row in fold.train} == others | {"d"}
        assert {row.corpus for row in fold.val} == others
        assert {row.split for row in fold.val} == {"val"}
        assert {row.split for row in fold.train if row.corpus != "d"} == {"train"}


def test_without_splits_whole_speakers_of_the_others_are_held_out():
    rows = [row(f"{s}-{n}", corpus, f"s{s}") for corpus in "abc" for s in range(5) for n in range(2)]
    with pytest.raises(
        UsageError, match=r"apart from a no row is in split 'train'; name the splits, or set data\.hold_out"
    ):
        leave_corpus_out(rows, "train", "val")
    for fold in leave_corpus_out(rows, "train", "val", share=0.2):
        assert len(fold.val) == 4
        assert len(fold.train) == 16
        assert {row.corpus for row in fold.train + fold.val} == {"a", "b", "c"} - {fold.name}


def test_one_corpus_cannot_be_left_out():
    with pytest.raises(UsageError, match=r"leaving one corpus out needs at least two; there is only a$"):
        leave_corpus_out(splits("a"), "train", "val")


def test_a_random_split_divides_clips_whoever_speaks():
    rows, always = sessions(5, 6), [row("x", "d")]
    folds = random_split(rows, 4, 0, always)
    assert [fold.name for fold in folds] == ["random-1", "random-2", "random-3", "random-4"]
    assert sorted(row.file for fold in folds for row in fold.test) == sorted(row.file for row in rows)
    for this, following in zip(folds, folds[1:] + folds[:1], strict=True):
        assert this.val == following.test
        assert this.train[-1:] == always
        parts = [{row.file for row in part} for part in (this.train, this.val, this.test)]
        assert sum(map(len, parts)) == len(rows) + 1 == len(set.union(*parts))
        assert {row.speaker for row in this.train} & {row.speaker for row in this.test}  # it leaks
    assert max(Counter(len(fold.test) for fold in folds)) - min(len(fold.test) for fold in folds) <= 1
    assert random_split(rows, 4, 0) == [type(fold)(fold.name, fold.train[:-1], fold.val, fold.test) for fold in folds]
    assert random_split(rows, 4, 1, always) != folds


@pytest.mark.parametrize(("rows", "number"), [(9, 2), (9, 1), (2, 3)])
def test_a_random_split_of_too_few_is_refused(rows, number):
    with pytest.raises(UsageError, match="a random split needs at least three folds and a clip for each"):
        random_split([row(n) for n in range(rows)], number, 0)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.5, 1.0])
def test_whole_speakers_are_held_out_until_the_share_is_met(share):
    rows = [row(f"{s}-{n}", "ab"[s % 2], f"s{s // 2}") for s in range(40) for n in range(1 + s % 5)]
    found = hold_out(rows, share, 0, "train", "val")
    assert [(f.file, f.speaker) for f in found] == [(r.file, r.speaker) for r in rows]
    parts = {part: {(r.corpus, r.speaker) for r in found if r.split == part} for part in ("train", "val")}
    assert not parts["train"] & parts["val"]
    assert len(parts["train"]) + len(parts["val"]) == 40
    held = sum(r.split == "val" for r in found)
    assert 0 < held < len(rows)
    assert abs(held - share * len(rows)) <= 5  # a speaker's clips
    assert hold_out(rows, share, 0, "train", "val") == found
    assert hold_out(rows[::-1], share, 0, "train", "val")[::-1] == found  # the order of rows decides nothing
    assert hold_out(rows, share, 1, "train", "val") != found


def test_of_one_speaker_nothing_can_be_held_out():
    with pytest.raises(UsageError, match="needs at least two speakers"):
        hold_out([row(n, speaker="a") for n in range(4)], 0.5, 0, "train", "val")
