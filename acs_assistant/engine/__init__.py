"""The design loop: propose, a person's gate, simulate, score, store; as typed events."""
