"""Manifest to disk: find what is right already, write what arrives, install it under its final name."""
