"""The judges of the exercises, a module for each notebook."""
