"""What this machine is, how fast it is, and what is set up wrongly on it."""

from zen_pipeline.machine.checks import Problem, problems
from zen_pipeline.machine.description import Description, describe
from zen_pipeline.machine.facts import Profile, gpu_names, profile
from zen_pipeline.machine.memory import peak_memory

__all__ = ["Description", "Problem", "Profile", "describe", "gpu_names", "peak_memory", "problems", "profile"]
