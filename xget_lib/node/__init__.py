"""A node: the client in the foreground, its download, and the child server that stays."""
