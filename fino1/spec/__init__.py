"""The run file: what may be asked for, how it is read, and its canonical form."""
