"""Plain Unix: processes that fork, watch each other and pass messages and descriptors. No gevent."""
