"""Building snapshots outside the serving process: a child that is kept (``child``), and the server's end of
it (``builder``); between them files (``images``) and a line of text for each."""
