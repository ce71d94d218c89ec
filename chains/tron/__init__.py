"""The Tron family: plain TRC-20 payments, read from TronGrid or a node that speaks like it."""
