"""MLflow: the server or database in use, and the runs that are tracked there."""

from zen_pipeline.tracking.address import local_database, local_tracking_uri
from zen_pipeline.tracking.client import MLFLOW_QUIET, experiment_id, mlflow_client, without_our_defaults
from zen_pipeline.tracking.database import current_place
from zen_pipeline.tracking.runs import (
    NO_TRACKING,
    MlflowStage,
    MlflowTracker,
    StageTracker,
    Tracker,
    log_metrics,
    numbers,
)

__all__ = [
    "MLFLOW_QUIET",
    "NO_TRACKING",
    "MlflowStage",
    "MlflowTracker",
    "StageTracker",
    "Tracker",
    "current_place",
    "experiment_id",
    "local_database",
    "local_tracking_uri",
    "log_metrics",
    "mlflow_client",
    "numbers",
    "without_our_defaults",
]
