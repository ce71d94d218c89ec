"""The whole system in one process, on one seeded loop with virtual time (docs/simulation.md)."""
