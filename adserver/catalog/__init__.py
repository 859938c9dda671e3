"""What advertisers and publishers own: files, validation, SQL store, keys, audiences."""
