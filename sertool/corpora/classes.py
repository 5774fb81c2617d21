"""Emotion classes: what corpora call them, and which of their labels count as which class."""

#: A class as other corpora spell it -> as sertool does.
SYNONYMS = {
    "anger": "angry",
    "excitement": "excited",
    "fear": "fearful",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprise": "surprised",
}

#: A label that a model without a class of its own for it counts as another one, as arXiv 2512.23435 does.
COUNTS_AS = {"calm": "neutral", "excited": "happy"}


def canonical(emotion: str) -> str:
    """A corpus's label under sertool's spelling of it, lower case."""
    name = emotion.strip().lower()
    return SYNONYMS.get(name, name)


def class_of(emotion: str, classes) -> str | None:
    """Which of ``classes`` a corpus's label counts as; None for another emotion, or none."""
    name = canonical(emotion)
    name = name if name in classes else COUNTS_AS.get(name)
    return name if name in classes else None
