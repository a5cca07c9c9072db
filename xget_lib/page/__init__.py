"""The status page of a server, and its metrics: what a browser and Prometheus see (`--http`)."""
