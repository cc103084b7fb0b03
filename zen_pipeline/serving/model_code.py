"""The file that MLflow runs to load a released model ("model from code"): nothing here is pickled."""

from mlflow.models import set_model

from zen_pipeline.serving.pyfunc import ZenModel

set_model(ZenModel())
