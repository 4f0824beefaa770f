"""A whole installation in made-up time: the real domain, application and adapter code, simulated servers and faults.

One seed decides everything: arrivals, latencies, faults, interleavings. `python -m payrouter_lab.simulation --help`.
"""
