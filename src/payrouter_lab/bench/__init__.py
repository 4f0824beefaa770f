"""Benchmarks: the challenge's schedules, floods, backlogs and summaries, beside a do-nothing reference.

Needs the `bench` extra and a checkout: the k6 script and the schedules live in `bench/`, not in the package.
"""
