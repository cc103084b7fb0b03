"""The ten stages, one file each; `zen_pipeline.pipeline.chain` puts them in order."""
