"""Hosted payment providers in this process: what they answer, what they tell, and what goes wrong with both."""
