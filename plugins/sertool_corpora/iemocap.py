"""IEMOCAP as the University of Southern California hands it out: IEMOCAP_full_release/Session1 to Session5."""

import re
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
    "xxx": "",  # the judges did not agree
}
_NUMBER = r"(\d+(?:\.\d+)?)"
#: [start - end] utterance emotion [valence, activation, dominance]
_SUMMARY = re.compile(
    rf"\[{_NUMBER} - {_NUMBER}\]\s+(Ses0([1-5])[FM]_\w+_([FM])[A-Z0-9]+)\s+({'|'.join(EMOTIONS)})\s+"
    rf"\[{_NUMBER}, {_NUMBER}, {_NUMBER}\]"
)


def read(root) -> list[Row]:
    """Every utterance of the five sessions' dialog/EmoEvaluation/*.txt, by file name; no split is published.

    The speaker is the one who is heard: Ses01F_impro01_M002 is ``Ses01M``, the man of session 1 (the F says who wore
    the motion-capture markers). ``emotion`` is the judges' majority, excited and frustrated kept apart from happy and
    angry, "" where there was none. Ratings are the judges' means, (x - 1) / 4; a mean past the ends of the scale of 1
    to 5 (5.5 is said to occur) is clipped to [0, 1]. ``duration`` is the utterance's, in seconds, by its times in the
    dialogue. Raises SertoolError naming the path of a session or a recording that is absent, or file and line of a
    summary that cannot be read.

    Source: C. Busso et al., "IEMOCAP: interactive emotional dyadic motion capture database", Language Resources and
    Evaluation 42 (2008), and the release's README.
    """
    root = Path(root)
    rows = []
    for number in range(1, 6):
        session = root / f"Session{number}"
        labels = session / "dialog" / "EmoEvaluation"
        hint = "the folder to name is IEMOCAP_full_release, which holds Session1 to Session5"
        spoken = [row for path in files(labels, "*.txt", hint) for row in _dialogue(session, path)]
        check_recordings(spoken, labels)
        rows += spoken
    return sorted(rows, key=lambda row: row.file)


def _dialogue(session: Path, path: Path):
    # latin-1 decodes whatever the judges typed in their remarks, which are skipped
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
