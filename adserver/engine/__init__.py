"""The decision as pure functions: snapshot, index, shortlist, ranking, feed, explain."""
