"""Registering intents and watches: what is asked, checked, and stored once."""
