"""A search under faults: `python -m tests.support.cluster.chaos --seed 0 --minutes 8` (`make chaos`).

A search is hit by faults of many kinds at random moments (`faults`), on a small disk, in an S3 store and on
a cluster of several hosts (`scenes`), and resumed each time it has ended, until it is done (`disturb`). Then
its log is compared with what must be true of it, and, with one worker, its table with that of the same search
left alone (`check`).
"""
