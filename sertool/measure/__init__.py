"""Measure the cost of a model: weights, operations, time, memory."""
