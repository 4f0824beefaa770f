"""The ledger of the cluster engine, in PostgreSQL."""
