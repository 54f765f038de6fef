"""From predictions to numbers: own runs and strangers' files, the filter, the baseline, alarms.

`scoring` is the one scorer and comparer, `external` reads and joins the files of others,
`filtering` is Q-Ponder's Eq. 1, `baseline` the handcrafted model, `monitoring` says from a log when
reinforcement learning does not learn.
"""
