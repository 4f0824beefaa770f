"""Bad input at scale: hostile bytes and generated API calls against a running router, and what came of them.

`samples` makes the bytes, `talk` sends one sample, `fuzz` sends many and compares the books, `conformance` runs
schemathesis on the OpenAPI document that the router serves.
"""
