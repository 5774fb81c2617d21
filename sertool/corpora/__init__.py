"""Labelled audio as rows, and splits that are checked."""

from sertool.corpora.rows import Row, check_speakers_disjoint, select

__all__ = ["Row", "check_speakers_disjoint", "select"]
