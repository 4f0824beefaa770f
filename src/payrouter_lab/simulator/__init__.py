"""A payment processor to test against: the challenge's behaviour (CONTRACT section 2), and faults on demand.

`books` and `limits` are pure, `wire` is the JSON, `edge` and `admin` answer HTTP, `simulator` is what tests
and the command line start.
"""

from payrouter_lab.simulator.faults import Faults, HealthReport
from payrouter_lab.simulator.simulator import ProcessorSimulator, run
from payrouter_lab.simulator.state import SimulatorOptions

__all__ = ["Faults", "HealthReport", "ProcessorSimulator", "SimulatorOptions", "run"]
