"""Detect speech in recordings: detector, segments, formats, plot."""
