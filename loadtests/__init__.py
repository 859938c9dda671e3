"""The load test: visitors (locust), the laws checked from what they saw, campaigns changed meanwhile."""
