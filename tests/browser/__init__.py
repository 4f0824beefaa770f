"""The operator's page in a real browser.

A package, unlike its neighbours, so that `browser` below ends with it: while Playwright runs, nothing else on its
thread may start an event loop.
"""
