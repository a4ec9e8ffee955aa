"""Passes over a whole corpus that give rows a verdict: duplicates, near duplicates, contamination.

Each takes texts with their row numbers, in input order, and gives Arrow tables of verdicts. What does not
fit in memory is spilled. Verdicts depend on the texts and their order alone, not on batches or budgets.
"""
