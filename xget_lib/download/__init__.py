"""Manifest to disk: find what is already right, write what arrives, install it under its final name."""
