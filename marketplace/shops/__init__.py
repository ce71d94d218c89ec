"""Shops: what sellers offer to everybody, and checkouts of it."""
