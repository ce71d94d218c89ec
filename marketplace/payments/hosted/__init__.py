"""Providers that say that something was paid; what counts is what the scanner sees of it on the chain."""
