"""Tests of measuring.paper."""
