"""MLflow: one parent run a launch, one child run a cell, the comparison matrix on the parent.

The records in the store are the truth, MLflow is a view of it, written by one `Tracker` on the driver. A space is an
experiment. A cell has one child run in it, whichever launches include it: the child stays under the launch that logged
it, while the matrix on every parent has all cells. A run is written once: when the result of its cell changes (a failed
cell is mended, an older result is trained anew), a new run takes its place, since parameters in MLflow never change
and points of old curves would stay; the old run is marked and deleted, which `mlflow` can undo. What is only known of a
whole matrix (intervals, shares of shared costs) is added to a run later.
"""

from orchestrator.tracking.material import Material
from orchestrator.tracking.runs import Tracker
from orchestrator.tracking.views import Link, links

__all__ = ["Link", "Material", "Tracker", "links"]
