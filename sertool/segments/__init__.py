"""Segments of recordings, and tables of rows: what file formats read and write."""

from sertool.segments.segment import Segment, seconds
from sertool.segments.table import Annotated, Table, Writer

__all__ = ["Annotated", "Segment", "Table", "Writer", "seconds"]
