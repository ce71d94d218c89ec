"""How nodes are asked, for every family: HTTP, JSON-RPC, rates, and endpoints with the limits learnt of each."""
