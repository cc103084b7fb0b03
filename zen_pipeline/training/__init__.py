"""Lightning modules and data, optimizers, schedules, checkpoints, the launcher."""
