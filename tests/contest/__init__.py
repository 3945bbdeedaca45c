"""Tests of contest."""
