"""Clients of the scanner for the backends that use it, one folder a language."""
