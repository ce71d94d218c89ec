"""A Tron chain in memory, and the TronGrid endpoints in front of it."""
