"""The EVM family: ERC20FeeProxy payments read over JSON-RPC."""
