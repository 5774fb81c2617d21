"""Labels as a pandas table."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sertool.errors import UsageError
from sertool.labelling.job import Result

if TYPE_CHECKING:
    import pandas


def to_frame(results: Iterable[Result]) -> "pandas.DataFrame":
    """Return results of ``label_all`` as a pandas table with audformat's segmented index: file, start, end.

    The columns are the model's outputs, ``speech`` and ``error``. A failed recording has a row with its ``error``;
    its start and end are missing. Raises UsageError if pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise UsageError("to_frame needs pandas: pip install pandas") from None
    frame = pandas.DataFrame([row for result in results for row in result.rows])
    for time in ("start", "end"):
        frame[time] = pandas.to_timedelta(frame[time].astype(float), unit="s")
    return frame.set_index(["file", "start", "end"])
