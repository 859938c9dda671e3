"""Hot state shared with other processes, in Redis. Nothing here is imported by a server that is alone."""
