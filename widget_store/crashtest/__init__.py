"""Crash tests of any DBOS application: kill it at every commit, recover it, and compare what is left."""
