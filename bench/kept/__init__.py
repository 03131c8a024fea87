"""Experiments that decided something, each one runnable: see README.md."""
