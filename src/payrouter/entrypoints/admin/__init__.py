"""The operator's view: its page, its JSON API, metrics."""
