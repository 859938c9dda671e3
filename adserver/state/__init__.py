"""Hot state behind one protocol: exposures, feed accounts, repeated requests. Rebuilt from the journal."""
