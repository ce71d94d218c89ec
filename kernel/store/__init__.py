"""A service's store: one SQLite file, its connections, its schema, its copies."""
