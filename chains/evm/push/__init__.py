"""New heads by WebSocket: hints that wake the poll, and never more than that."""
