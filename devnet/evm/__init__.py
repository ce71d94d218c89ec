"""A local EVM chain with the real proxy contract, and JSON-RPC endpoints that misbehave or answer from a script."""
