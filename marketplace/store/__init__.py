"""All SQL of the marketplace, one module a table."""
