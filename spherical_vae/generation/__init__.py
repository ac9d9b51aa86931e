"""Texts written by trained models."""
