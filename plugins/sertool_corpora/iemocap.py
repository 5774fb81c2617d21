"""IEMOCAP as distributed by the University of Southern California: IEMOCAP_full_release/Session1 to Session5."""

import re
from collections.abc import Iterator
from pathlib import Path

from sertool.corpora import Row
from sertool.errors import SertoolError

from .layout import check_recordings, files

EMOTIONS = {
    "ang": "angry",
    "hap": "happy",
    "sad": "sad",
    "neu": "neutral",
    "fea": "fearful",
    "dis": "disgust",
    "sur": "surprised",
    "exc": "excited",
    "fru": "frustrated",
    "oth": "other",
    "xxx": "",  # no agreement between the judges
}
_NUMBER = r"(\d+(?:\.\d+)?)"
#: [start - end] utterance emotion [valence, activation, dominance]
_SUMMARY = re.compile(
    rf"\[{_NUMBER} - {_NUMBER}\]\s+(Ses0([1-5])[FM]_\w+_([FM])[A-Z0-9]+)\s+({'|'.join(EMOTIONS)})\s+"
    rf"\[{_NUMBER}, {_NUMBER}, {_NUMBER}\]"
)


def read(root: str | Path) -> list[Row]:
    """Return every utterance in dialog/EmoEvaluation/*.txt of the five sessions, sorted by file; no split is published.

    The speaker is the person who speaks: Ses01F_impro01_M002 is ``Ses01M``, the man of session 1 (the F says who wore
    the motion-capture markers). ``emotion`` is the judges' majority vote, "" without one; excited and frustrated are
    separate from happy and angry. Ratings are the judges' means, (x - 1) / 4; a mean outside the scale of 1 to 5 (5.5
    is reported to occur) is clipped to [0, 1]. ``duration`` is that of the utterance in seconds, from its times in the
    dialogue. Raises SertoolError, naming the path, if a session or a recording is missing, and naming file and line if
    a summary cannot be parsed.

    Source: C. Busso et al., "IEMOCAP: interactive emotional dyadic motion capture database", Language Resources and
    Evaluation 42 (2008), and the release's README.
    """
    root = Path(root)
    rows: list[Row] = []
    for number in range(1, 6):
        session = root / f"Session{number}"
        labels = session / "dialog" / "EmoEvaluation"
        hint = "give the folder IEMOCAP_full_release, which contains Session1 to Session5"
        utterances = [row for path in files(labels, "*.txt", hint) for row in _dialogue(session, path)]
        check_recordings(utterances, labels)
        rows += utterances
    return sorted(rows, key=lambda row: row.file)


def _dialogue(session: Path, path: Path) -> Iterator[Row]:
    # latin-1 decodes any byte in the judges' remarks, which are skipped
    for line, text in enumerate(path.read_text(encoding="latin-1").split("\n"), start=1):
        if not text.startswith("["):
            continue
        summary = _SUMMARY.fullmatch(text.strip())
        if not summary or session.name != f"Session{summary[4]}":
            raise SertoolError(
                f"{path}, line {line}: not '[start - end] utterance emotion [valence, activation, dominance]' "
                f"of {session.name}: {text[:80]!r}"
            )
        start, end, utterance, number, sex, emotion, *ratings = summary.groups()
        valence, arousal, dominance = (min(max((float(rating) - 1) / 4, 0.0), 1.0) for rating in ratings)
        yield Row(
            file=session / "sentences" / "wav" / utterance.rpartition("_")[0] / f"{utterance}.wav",
            corpus="iemocap",
            speaker=f"Ses0{number}{sex}",
            emotion=EMOTIONS[emotion],
            sex=sex.lower(),
            language="en",
            session=number,
            licence="IEMOCAP licence (restricted)",
            duration=round(float(end) - float(start), 4),
            arousal=arousal,
            dominance=dominance,
            valence=valence,
        )
