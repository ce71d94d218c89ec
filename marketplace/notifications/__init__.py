"""What people are told: stored, listed, and streamed live."""
