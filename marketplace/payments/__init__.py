"""Money: from the checkout over what the scanner observed to the ledger and the payout."""
