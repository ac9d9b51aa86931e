"""Measures of a trained model that single tables and figures need, beside the bounds."""
