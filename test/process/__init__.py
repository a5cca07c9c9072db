"""Tests with real processes, real signals and real descriptors."""
