"""What a chain can tell us: facts about blocks and transfers, one folder a family."""
