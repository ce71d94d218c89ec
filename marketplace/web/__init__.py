"""The front door: HTTP in, use cases called, JSON out."""
