"""The master process: accepts connections, takes snapshots, tracks nodes."""
