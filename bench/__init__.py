"""Measurements: each as a ratio to a baseline of the same run, with what bounds it."""
