"""Posting outside the serving process: a child that is kept and follows the journal into the ledger
(``child``), and the server's end of it (``clerk``); between them lines of text."""
