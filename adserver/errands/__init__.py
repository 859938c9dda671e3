"""Between the workers of one data folder: errands and their answers (``domain.errands``), framed, over Unix
sockets that only their user can open (``data/run/<number>.sock``); and between machines, over TCP."""
