"""Emotion classes: synonyms in corpora, and which label counts as which class."""

from collections.abc import Container

#: Class name in other corpora -> class name in sertool.
SYNONYMS = {
    "anger": "angry",
    "excitement": "excited",
    "fear": "fearful",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprise": "surprised",
}

#: Label -> class it counts as for a model that has no class for the label, as in arXiv 2512.23435.
COUNTS_AS = {"calm": "neutral", "excited": "happy"}


def canonical(emotion: str) -> str:
    """Return sertool's name for a corpus's label, in lower case."""
    name = emotion.strip().lower()
    return SYNONYMS.get(name, name)


def class_of(emotion: str, classes: Container[str]) -> str | None:
    """Return which of ``classes`` a corpus's label counts as; None for other emotions and for an empty label."""
    name = canonical(emotion)
    if name in classes:
        return name
    other = COUNTS_AS.get(name)
    return other if other in classes else None
