"""One thread's inferences of an artifact, as `edgecnn bench` runs them, between marks: python count.py ARTIFACT"""

import sys

from mark import count_runs

from edgecnn.device.measure import open_subject

count_runs(open_subject(sys.argv[1], threads=1).run)
