"""Queue, intents, ledger and roll-ups in one SQLite file."""
