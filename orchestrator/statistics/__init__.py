"""How sure the matrix is: bootstrap intervals of every metric, and paired comparisons with a baseline.

predictions.py reads what a cell answered; resampling.py draws test sets again and scores all cells on the same draws;
estimates.py makes intervals and p-values of that; baselines.py says which cell is compared with which; answers.py
computes what is asked and keeps it beside the store; judging.py puts it into the records.
"""

from orchestrator.statistics.baselines import DEFAULT, parse
from orchestrator.statistics.judging import judged

__all__ = ["DEFAULT", "judged", "parse"]
