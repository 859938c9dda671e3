"""Real servers for tests: PostgreSQL, Redis, and the network between."""
