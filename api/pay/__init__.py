"""The payment page: what a buyer sees, with nothing but a token."""
