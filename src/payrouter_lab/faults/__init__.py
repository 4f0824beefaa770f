"""Real faults on a real cluster under load, and what they did to the books: `python -m payrouter_lab.faults`.

`storm` strikes, waits for recovery and compares; `catalogue` has the faults, `bed` what they strike: a local cluster,
a fault proxy before each processor (`proxy`), and clients that never give up a payment (`load`). `disk` does the same
to the router on one SQLite file.
"""
