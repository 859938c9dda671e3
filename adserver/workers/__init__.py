"""Several serving processes on one machine: a parent that decides nothing (``parent``, ``team``, ``worker``),
and the workers it keeps alive (``child``). Between each two ends lie lines of text (``messages``)."""
