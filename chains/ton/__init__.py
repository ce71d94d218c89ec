"""The TON family: jetton transfers read from TonCenter v3."""
