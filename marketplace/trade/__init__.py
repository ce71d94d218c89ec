"""From a request over offers and negotiation to the delivered goods, or a dispute."""
