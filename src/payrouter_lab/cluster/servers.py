"""The servers of a cluster, each on loopback and in a directory of its own."""

from payrouter_lab.cluster.nginx import NginxServer
from payrouter_lab.cluster.postgres import PostgresServer, server_user
from payrouter_lab.cluster.redis import RedisServer
from payrouter_lab.cluster.server import Server

__all__ = ["NginxServer", "PostgresServer", "RedisServer", "Server", "server_user"]
