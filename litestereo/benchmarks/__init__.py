"""Measuring: accuracy on stereo data sets, and what it takes to believe the numbers."""
