"""Vivavoce: a self-hosted real-time media server for job interviews."""

__version__ = "0.1.0"
