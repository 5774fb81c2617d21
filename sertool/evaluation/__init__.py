"""Evaluate models on labelled corpora."""
