"""What is often built on a cache, for both clients. The decisions lie in `wireproto.core`.

cached          functions whose results are kept
rate_limiter    how often somebody may do something
session_store   sessions of users
"""
