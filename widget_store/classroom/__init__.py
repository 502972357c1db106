"""The workshop: a JupyterHub for a class, on which each seat is an account of its own. Linux only."""
