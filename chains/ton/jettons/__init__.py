"""Jetton wallets: where they are, what they were credited, and the cells in which they say so."""
