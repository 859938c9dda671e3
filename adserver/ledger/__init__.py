"""Durable events and the money they move: journal, posting, budgets, verification."""
