"""Tests of xget_lib/content."""
