"""The fault laboratory: real processes in a hostile world, and a judge who asks the chain alone."""
