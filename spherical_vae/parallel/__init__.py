"""Devices and hosts: the mesh, what lies on it, and processes that train together."""
