"""A real local chain with the real proxy contract, and the misbehaving things around it."""
