"""The three chains of a test or a demo, the services in front of them, and purchases over HTTP against both daemons."""
