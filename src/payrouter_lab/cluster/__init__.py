"""The whole cluster on one machine without containers: real Redis, PostgreSQL and nginx, and every process of ours.

`servers` runs one of the three, `limits` rations processes as `deploy/docker-compose.yml` does, `local` puts a cluster
together, `python -m payrouter_lab.cluster` runs it from a terminal.
"""
