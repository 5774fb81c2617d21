"""What pictures and pages share: colours, and how pages and figures are made."""

from collections.abc import Sequence

#: Okabe and Ito's colours, distinguishable for colour-blind readers, with a grey in place of black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#6E7781", "#F0E442")
#: The same for dark pages, light enough to have a contrast of three to one.
ON_DARK = ("#4CA6E8", "#F0AD1E", "#2FBF96", "#FF8A57", "#E09CC6", "#9AD7F7", "#B6BEC8", "#F0E442")
MARKERS = "os^vDPX<>"
GREY = "#999999"

#: Names that have the same colour in every picture -> its index.
_KNOWN = {
    **{"angry": 3, "anger": 3, "happy": 1, "happiness": 1, "neutral": 6, "sad": 0, "sadness": 0},
    **{"fear": 4, "fearful": 4, "disgust": 2, "disgusted": 2, "surprise": 5, "surprised": 5, "calm": 7},
    **{"arousal": 3, "dominance": 2, "valence": 0},
}


def indices(names: Sequence[str]) -> list[int]:
    """Return an index of COLOURS for each name: that of a known emotion or output, else one that is still free."""
    known = {_KNOWN[name] for name in names if name in _KNOWN}
    free = [index for index in range(len(COLOURS)) if index not in known] or [*range(len(COLOURS))]
    unknown = [name for name in names if name not in _KNOWN]
    return [_KNOWN[name] if name in _KNOWN else free[unknown.index(name) % len(free)] for name in names]


def colours(names: Sequence[str]) -> list[str]:
    """Return a colour for each name, for figures."""
    return [COLOURS[index] for index in indices(names)]
