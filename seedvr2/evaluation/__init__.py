"""Measuring restored video against the original."""
