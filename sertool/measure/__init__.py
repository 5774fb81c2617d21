"""Measure what a model costs: weights, operations, time, memory."""
