"""A TON chain in memory, and the TonCenter endpoints in front of it."""
