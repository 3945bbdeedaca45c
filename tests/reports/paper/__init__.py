"""Tests of reports.paper."""
