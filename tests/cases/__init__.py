"""Small inputs that once broke a promise, each with what is right."""
