"""The settings of every stage, and profiles: YAML files that state them.

Defaults are the values of the `mini` profile, so that a notebook that is opened by itself does
what `qponder run mini` does.
"""

from qponder_lib.config.profiles import (
    Profile,
    Study,
    StudyRun,
    dump_profile,
    load_profile,
    load_profile_or_study,
    profile_path,
)
from qponder_lib.config.sections import (
    SECTIONS,
    DataConfig,
    DistillConfig,
    EvaluateConfig,
    FilterConfig,
    GrpoConfig,
    JudgeConfig,
    PredictConfig,
    Section,
    SftConfig,
    StudentConfig,
)

__all__ = [
    "SECTIONS",
    "DataConfig",
    "DistillConfig",
    "EvaluateConfig",
    "FilterConfig",
    "GrpoConfig",
    "JudgeConfig",
    "PredictConfig",
    "Profile",
    "Section",
    "SftConfig",
    "StudentConfig",
    "Study",
    "StudyRun",
    "dump_profile",
    "load_profile",
    "load_profile_or_study",
    "profile_path",
]
