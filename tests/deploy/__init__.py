"""What is shipped for running the services: image, compose, units, rules, dashboard."""
