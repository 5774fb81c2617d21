"""Arousal, dominance and valence of emotion terms, for corpora that have category labels only.

Source: J. A. Russell and A. Mehrabian, "Evidence for a three-factor theory of emotions", Journal of Research in
Personality 11 (1977), 273-294: mean ratings of 151 terms on pleasure, arousal and dominance, each from -1 to 1. The
values are quoted from later works; the paper itself was not available. They describe the word, not the recording: a
target computed from them is not a human rating of the clip.
"""

#: Term of the paper -> (pleasure, arousal, dominance).
RUSSELL_MEHRABIAN_1977 = {
    "angry": (-0.51, 0.59, 0.25),
    "bored": (-0.65, -0.62, -0.33),
    "disgusted": (-0.60, 0.35, 0.11),
    "distressed": (-0.61, 0.28, -0.36),
    "elated": (0.50, 0.42, 0.23),
    "fearful": (-0.64, 0.60, -0.43),
    "happy": (0.81, 0.51, 0.46),
    "relaxed": (0.68, -0.46, 0.06),
    "sad": (-0.63, -0.27, -0.33),
    "surprised": (0.40, 0.67, -0.13),
    "triumphant": (0.69, 0.57, 0.63),
    "neutral": (0.0, 0.0, 0.0),  # the origin of the scales
}

#: Label of a corpus, lower case -> term of the paper. Other labels get no target.
TERMS = {
    "anger": "angry",
    "boredom": "bored",
    "calm": "relaxed",
    "disgust": "disgusted",
    "distress": "distressed",
    "elation": "elated",
    "fear": "fearful",
    "sadness": "sad",
    "serenity": "relaxed",
    "triumph": "triumphant",
} | {term: term for term in RUSSELL_MEHRABIAN_1977}


def coordinates(emotion: str, strength: float = 1.0) -> tuple[float, float, float] | None:
    """Return arousal, dominance and valence in [0, 1] for a label; None if there are no published values for it.

    ``strength`` scales the distance from neutral (0.5, 0.5, 0.5): 0 is neutral, 1 is the term itself.
    """
    term = TERMS.get(emotion.lower())
    if term is None:
        return None
    pleasure, arousal, dominance = RUSSELL_MEHRABIAN_1977[term]
    return 0.5 + 0.5 * strength * arousal, 0.5 + 0.5 * strength * dominance, 0.5 + 0.5 * strength * pleasure
