"""Callback secrets: changed by backends, encrypted at rest."""
