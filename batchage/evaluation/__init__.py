"""Measuring predictions against labels: join, metrics, plots, report."""
