"""What an arousal, dominance, valence model is worth where there are targets, and where there are only classes."""

from collections import defaultdict

import numpy as np

from .metrics import auc, ccc

#: Measure -> (output, classes that should score high, classes that should score low).
CLASS_PAIRS = {
    "arousal AUC": ("arousal", {"angry", "happy", "fearful"}, {"sad", "neutral", "calm"}),
    "valence AUC": ("valence", {"happy"}, {"angry", "sad"}),
}


def concordance(outputs: np.ndarray, targets: np.ndarray, names) -> dict[str, float]:
    """CCC per output name; both arrays [n, len(names)]."""
    return {name: ccc(outputs[:, i], targets[:, i]) for i, name in enumerate(names)}


def class_pairs(outputs: np.ndarray, rows, names) -> dict[str, dict[str, float]]:
    """Corpus -> measure -> AUC, for outputs [n, len(names)] of n rows with emotion labels.

    A measure is left out where a corpus lacks one side of the pair.
    """
    by_corpus = defaultdict(list)
    for i, row in enumerate(rows):
        by_corpus[row.corpus].append(i)
    result = {}
    for corpus, indices in sorted(by_corpus.items()):
        emotions = np.array([rows[i].emotion for i in indices])
        result[corpus] = {}
        for measure, (output, high, low) in CLASS_PAIRS.items():
            is_high, is_low = np.isin(emotions, list(high)), np.isin(emotions, list(low))
            either = is_high | is_low
            scores = outputs[indices, list(names).index(output)]
            if is_high.any() and is_low.any():
                result[corpus][measure] = auc(scores[either], is_high[either])
    return result
