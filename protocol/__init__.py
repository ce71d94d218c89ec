"""The wire, once: what the scanner answers and tells, its errors and its calls; server, client and tests share it."""
