"""Who people are: accounts, passwords, tokens, and how often one may ask."""
