"""Payrouter: a least-cost payment router."""

__version__ = "0.1.0"
