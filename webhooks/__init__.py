"""Telling the backend: signed, scheduled, guarded deliveries."""
