"""The clients: shells around `core.client_session` that move bytes, keep time and hold locks."""
