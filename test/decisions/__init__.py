"""Tests of xget_lib/swarm: the decisions."""
