"""Benchmarks of a checkout: `python -m benchmarks`."""
