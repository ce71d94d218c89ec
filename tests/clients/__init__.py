"""Tests of the clients for backends."""
