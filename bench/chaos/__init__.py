"""The chaos harness: faults made on purpose, and what clients see of them, written down and judged."""
