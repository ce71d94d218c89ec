"""Secrets at rest: keys, and what they seal."""
