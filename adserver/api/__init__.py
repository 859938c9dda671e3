"""The wire: decisions, events, management, OpenRTB, operations."""
