"""Digital goods: a seller's stock, what a payment takes out of it, and what its buyer is shown."""
