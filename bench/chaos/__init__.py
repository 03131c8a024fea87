"""Faults made on purpose: a proxy that spoils connections, and hosts of their own whose network can be cut."""
