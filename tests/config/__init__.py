"""Tests of what the operator tells us."""
