"""What a price in one currency is in a token: quotes, the sources they rest on, and when there is none."""
