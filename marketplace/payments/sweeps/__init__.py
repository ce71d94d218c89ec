"""Files of unsigned transactions that empty derived addresses; whoever signs them does so elsewhere."""
