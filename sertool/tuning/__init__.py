"""Fit a bundle to people's own recordings: last layers, shifts and calibrations, in numpy and scipy, without torch."""
