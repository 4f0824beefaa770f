"""Queue, leases, health reports and news in Redis, over one pipelined connection."""
