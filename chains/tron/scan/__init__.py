"""Looking for payments: by logs, by account histories or by blocks, as far back as any endpoint can tell."""
