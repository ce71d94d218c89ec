"""Checking transfers against blocks and receipts before they are believed."""
