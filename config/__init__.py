"""What the operator tells us: settings, registries, logging."""
