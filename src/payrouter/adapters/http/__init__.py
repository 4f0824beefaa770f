"""HTTP/1.1 on the event loop: the server, the client, the processor gateway."""
