"""The Python client; it needs `protocol/` and `webhooks/signing.py` beside it and nothing else of this project."""
