"""Rows, checked splits, and the places of emotion terms."""

import numpy as np
import pytest

from sertool.corpora import Row, check_speakers_disjoint, select
from sertool.corpora.coordinates import RUSSELL_MEHRABIAN_1977, TERMS, coordinates
from sertool.errors import SertoolError


def row(speaker, corpus="c", split="train", emotion="angry"):
    return Row(file=f"{corpus}/{speaker}.wav", corpus=corpus, speaker=speaker, split=split, emotion=emotion)


def test_a_speaker_in_two_parts_is_an_error_that_names_speaker_and_parts():
    with pytest.raises(SertoolError, match=r"'s1' of c is in both 'train' and 'val'"):
        check_speakers_disjoint(train=[row("s1"), row("s2")], val=[row("s1")])


def test_one_speaker_name_in_two_corpora_is_two_speakers():
    check_speakers_disjoint(train=[row("01", "ravdess")], val=[row("01", "emodb")])


def test_select_takes_split_and_corpora():
    rows = [row("a"), row("b", split="val"), row("c", corpus="other")]
    assert [r.speaker for r in select(rows, "train")] == ["a", "c"]
    assert [r.speaker for r in select(rows, "train", ["other"])] == ["c"]


def test_coordinates_are_scaled_to_0_1_in_the_order_arousal_dominance_valence():
    # Russell & Mehrabian 1977: angry has pleasure -.51, arousal .59, dominance .25
    assert coordinates("angry") == pytest.approx(((1 + 0.59) / 2, (1 + 0.25) / 2, (1 - 0.51) / 2))
    assert coordinates("Anger") == coordinates("angry")


@pytest.mark.parametrize("emotion", sorted(TERMS))
def test_strength_moves_along_the_line_from_neutral(emotion):
    neutral, full, half = (np.array(coordinates(emotion, strength)) for strength in (0, 1, 0.5))
    assert (neutral == 0.5).all()
    np.testing.assert_allclose(half - neutral, (full - neutral) / 2)
    assert ((full >= 0) & (full <= 1)).all()


def test_labels_without_a_published_place_have_no_target():
    assert coordinates("plain") is None
    assert set(TERMS.values()) <= set(RUSSELL_MEHRABIAN_1977)
