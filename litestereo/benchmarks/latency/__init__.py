"""Latency as a robot feels it: subjects side by side in one run, and a receipt to show for it."""
