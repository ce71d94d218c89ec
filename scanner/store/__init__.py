"""All SQL of the daemon, one module a table."""
