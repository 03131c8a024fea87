"""One small program for each use: what goes wrong without, and what happens with. See examples/README.md."""
