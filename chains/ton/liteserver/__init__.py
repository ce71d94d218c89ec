"""Liteservers: nodes of TON asked directly, as a second source beside the index."""
