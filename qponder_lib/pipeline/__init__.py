"""The graph of stages as data, their keys, and the two calls a notebook makes.

A stage's key is a digest of its name, its settings and the keys of its inputs, so the whole plan
is known before anything runs: change one setting and exactly the stages that depend on it have
new keys. A stage is done when its seal carries its key and its files are as they were sealed.

In a notebook:

    run = pipeline.open_run(globals())
    config = pipeline.notebook_config(globals(), "filter")
    with pipeline.stage_run(run, "filter", config) as stage:
        if not stage.done:
            ...
            stage.outputs(run.paths.kept, run.paths.rejected)
"""

from qponder_lib.pipeline.graph import (
    PlannedStage,
    Stage,
    model_folder,
    model_stage,
    plan,
    stage_config,
    stage_key,
    stage_keys,
    stage_named,
    stages,
    with_dependants,
)
from qponder_lib.pipeline.work import (
    Run,
    StageRun,
    notebook_config,
    open_run,
    seal_stage,
    stage_run,
)

__all__ = [
    "PlannedStage",
    "Run",
    "Stage",
    "StageRun",
    "model_folder",
    "model_stage",
    "notebook_config",
    "open_run",
    "plan",
    "seal_stage",
    "stage_config",
    "stage_key",
    "stage_keys",
    "stage_named",
    "stage_run",
    "stages",
    "with_dependants",
]
