"""Days of traffic in minutes (``adserver simulate``): the server as it is composed for serving, on a clock
that stands where it is put, asked by a population of readers made from a seed. Nothing of deciding, counting
or billing is done here a second time; what is here is the world around the server, and books of what it
answered."""
