"""TonCenter v3: one client, the limits learnt of each endpoint, and what its refusals mean."""
