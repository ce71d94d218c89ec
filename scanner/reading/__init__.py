"""Reading chains: one rail after the other, a second time, and what is summed up on the way."""
