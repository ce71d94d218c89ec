"""The whole scenario of a purchase, driven over HTTP by many workers at once, and judged."""
