"""Whether money may be credited or released: the gate, its policy, and what it asks."""
