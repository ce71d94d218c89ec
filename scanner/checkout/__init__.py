"""What a buyer sees of a payment, and what can be done with its token."""
