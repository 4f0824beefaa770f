"""The operator's pages: dashboard, JSON, metrics, on an address of their own."""
