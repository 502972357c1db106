"""How fast the store is, measured beside what no store can be faster than.

Each figure that has one is given with its *floor*, measured in the same run on the same machine: the same SQL
with nothing durable around it, the bare commit, or the bare start of an interpreter. The ratio of the two is what
durability costs; it travels better from machine to machine than a number of milliseconds.

Everything happens on data of its own, which is gone afterwards: a learner's orders are not touched.
"""
