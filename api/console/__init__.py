"""The operator console: pages rendered here, for people who hold an API key; everything through the use cases."""
