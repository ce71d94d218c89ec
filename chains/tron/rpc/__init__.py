"""How a Tron service is asked: its rate and key, its questions, JSON-RPC, and what its refusals mean."""
