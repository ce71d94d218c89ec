"""Tasks that wait, repeat and outlive failures."""
