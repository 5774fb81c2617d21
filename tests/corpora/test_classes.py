"""Which label of a corpus counts as which class."""

import pytest

from sertool.corpora.classes import canonical, class_of

FOUR = ("angry", "happy", "neutral", "sad")


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        *((name, name) for name in FOUR),
        *((" Anger", "angry"), ("Happiness", "happy"), ("joy", "happy"), ("SADNESS", "sad")),
        *(("excited", "happy"), ("excitement", "happy"), ("calm", "neutral")),
        *(("fear", None), ("fearful", None), ("frustrated", None), ("disgust", None), ("", None), ("an", None)),
    ],
)
def test_a_label_counts_as_one_of_four_or_as_none(label, expected):
    assert class_of(label, FOUR) == expected


def test_a_model_with_a_class_of_its_own_keeps_it():
    assert class_of("excitement", (*FOUR, "excited")) == "excited"
    assert class_of("Calm", ("calm", "neutral")) == "calm"
    assert class_of("joy", ("angry", "sad")) is None
    assert class_of("excited", ("angry", "sad")) is None


def test_spellings_become_one():
    assert [canonical(name) for name in ("Fear", "surprise ", "EXCITEMENT", "boredom")] == [
        "fearful",
        "surprised",
        "excited",
        "boredom",
    ]
