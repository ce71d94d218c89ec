"""Event logs through the JSON-RPC of Tron nodes, with a probe that proves the node can serve them."""
