"""The course that travels with the package, and the copy of it in which a learner works."""
