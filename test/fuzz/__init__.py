"""What strangers may say, by the million: `python -m test.fuzz`."""
