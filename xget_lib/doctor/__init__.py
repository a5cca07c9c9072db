"""`xget doctor`: what may be wrong on this machine, on the way to a master, and in a destination."""
