"""Split rows into validated folds: leave one session, speaker or corpus out."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from sertool.corpora.rows import Row, check_speakers_disjoint
from sertool.errors import UsageError

BY = ("session", "speaker", "corpus")


@dataclass(frozen=True)
class Fold:
    """Rows for training, validation and test; ``name`` is the group that is left out."""

    name: str
    train: list[Row]
    val: list[Row]
    test: list[Row]


def leave_one_out(rows: list[Row], by: str, always: Iterable[Row] = (), number: int = 0) -> list[Fold]:
    """Make a fold per session or speaker: it is the test set, the next one validates, the rest trains.

    As in arXiv 2512.23435. ``always`` are rows that train in every fold. With ``number``, groups are merged into that
    many folds with clip counts as even as possible. Raises UsageError if a row lacks the label or there are fewer than
    three groups, SertoolError if a speaker is in two parts.
    """
    groups: dict[str, list[Row]] = {}
    several = len({row.corpus for row in rows}) > 1
    for row in rows:
        value = getattr(row, by)
        if not value:
            raise UsageError(f"{row.file}: {row.corpus} has no {by} for it; choose other folds with folds.by")
        groups.setdefault(f"{row.corpus}-{value}" if several else value, []).append(row)
    if number:
        groups = _merged(groups, number)
    names = sorted(groups)
    if len(names) < 3:
        raise UsageError(
            f"leaving one {by} out needs at least three; there are {len(names)}: {', '.join(names)} "
            "(one for the test, one for validation, the rest for training)"
        )
    folds = []
    for at, name in enumerate(names):
        following = names[(at + 1) % len(names)]
        train = [row for other in names if other not in (name, following) for row in groups[other]]
        folds.append(_checked(Fold(name, [*train, *always], groups[following], groups[name])))
    return folds


def leave_corpus_out(
    rows: list[Row], train: str, val: str, always: Iterable[Row] = (), share: float = 0.0, seed: int = 0
) -> list[Fold]:
    """Make a fold per corpus: all of it is the test set; splits ``train`` and ``val`` of the others train and validate.

    With a ``share``, these splits are made here: that share of the others' clips, in whole speakers, validates.
    ``always`` are rows that train in every fold. Raises UsageError if there is only one corpus, or if the others lack
    these splits; SertoolError if a speaker is in two parts.
    """
    corpora = sorted({row.corpus for row in rows})
    if len(corpora) < 2:
        raise UsageError(f"leaving one corpus out needs at least two; there is only {', '.join(corpora)}")
    folds = []
    for name in corpora:
        others = [row for row in rows if row.corpus != name]
        others = hold_out(others, share, seed, train, val) if share else others
        parts = [[row for row in others if row.split == split] for split in (train, val)]
        for split, part in zip((train, val), parts, strict=True):
            if not part:
                raise UsageError(
                    f"apart from {name} no row is in split {split!r}; name the splits, or set data.hold_out"
                )
        folds.append(_checked(Fold(name, [*parts[0], *always], parts[1], [r for r in rows if r.corpus == name])))
    return folds


def random_split(rows: list[Row], number: int, seed: int, always: Iterable[Row] = ()) -> list[Fold]:
    """Make folds of randomly drawn clips, ignoring speakers: speaker leakage shows as results that are too good.

    ``number`` parts: one is the test set, the next one validates, the rest trains. Speakers are deliberately not
    checked. Raises UsageError for fewer than three parts, or fewer clips than parts.
    """
    if not 3 <= number <= len(rows):
        raise UsageError(
            f"a random split needs at least three folds and a clip for each, not {number} folds of {len(rows)} clips; "
            "set folds.number"
        )
    part = np.random.default_rng(seed).permutation(len(rows)) % number
    groups = [[row for row, its_part in zip(rows, part, strict=True) if its_part == n] for n in range(number)]
    return [
        Fold(
            f"random-{n + 1}",
            [*(row for m, group in enumerate(groups) if m not in (n, (n + 1) % number) for row in group), *always],
            groups[(n + 1) % number],
            groups[n],
        )
        for n in range(number)
    ]


def hold_out(rows: list[Row], share: float, seed: int, train: str, val: str, by: str = "speaker") -> list[Row]:
    """Return the rows, assigned to splits ``train`` and ``val``: ``share`` of the clips validate.

    ``by`` "speaker" holds out whole speakers, as many as come closest to the share, but at least one; "clip" holds out
    any clips, so that their speakers also train (the production model of arXiv 2512.23435). Raises UsageError if there
    is only one speaker or clip.
    """
    if len(rows) < 2:
        raise UsageError("data.hold_out needs at least two clips")
    if by == "clip":
        out = {*np.random.default_rng(seed).permutation(len(rows))[: max(1, round(share * len(rows)))].tolist()}
        return [replace(row, split=val if at in out else train) for at, row in enumerate(rows)]
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        counts[row.corpus, row.speaker] = counts.get((row.corpus, row.speaker), 0) + 1
    speakers = sorted(counts)
    if len(speakers) < 2:
        raise UsageError("data.hold_out needs at least two speakers")
    order = [speakers[i] for i in np.random.default_rng(seed).permutation(len(speakers))]
    sums = np.cumsum([counts[speaker] for speaker in order])
    number = 1 + int(np.argmin(np.abs(sums[:-1] - share * len(rows))))
    out = set(order[:number])
    return [replace(row, split=val if (row.corpus, row.speaker) in out else train) for row in rows]


def _merged(groups: dict[str, list[Row]], number: int) -> dict[str, list[Row]]:
    """Assign groups, largest first, each to the fold that has the fewest clips so far."""
    folds: list[list[Row]] = [[] for _ in range(number)]
    for name in sorted(groups, key=lambda name: (-len(groups[name]), name)):
        min(folds, key=len).extend(groups[name])
    return {f"{at + 1:0{len(str(number))}}": fold for at, fold in enumerate(folds) if fold}


def _checked(fold: Fold) -> Fold:
    check_speakers_disjoint(train=fold.train, val=fold.val, test=fold.test)
    return fold
