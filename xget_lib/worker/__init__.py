"""A worker process of a master: serves 9P sessions and does snapshot jobs."""
