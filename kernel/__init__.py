"""The infrastructure of a service, without a word of its domain: both services are built on it."""
