"""Benchmarks: what they measure is printed, nothing is asserted."""
