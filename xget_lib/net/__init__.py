"""gevent meets sockets: listening, serving one connection, being a client on one."""
