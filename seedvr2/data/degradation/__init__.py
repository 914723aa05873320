"""Synthetic degradation: ordered operations that turn a clean clip into a low-quality one."""
