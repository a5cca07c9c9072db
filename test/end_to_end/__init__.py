"""Real masters and clients on loopback: what they do together."""
