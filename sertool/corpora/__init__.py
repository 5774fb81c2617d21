"""Labelled audio as rows, and validated splits."""

from sertool.corpora.rows import Row, check_speakers_disjoint, select

__all__ = ["Row", "check_speakers_disjoint", "select"]
