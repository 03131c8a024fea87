"""Asyncio shells around `wireproto.core`: sockets, processes, files and signals."""
