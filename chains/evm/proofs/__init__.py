"""Proofs that a payment is in a block, by hashes alone; loaded only where a chain asks for them."""
