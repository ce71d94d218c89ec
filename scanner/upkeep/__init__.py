"""Keeping the daemon in order: health, metrics, retention, summaries, schedules."""
