"""The newest block of a chain: which endpoint's head can be believed, and how old it is."""
