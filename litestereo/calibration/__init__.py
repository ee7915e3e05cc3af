"""Calibration: sets of real pairs, activation ranges, and the search for what may be quantised.

Importing this package loads nothing heavy.
"""
