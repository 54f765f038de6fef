"""The settings of every stage, and profiles: YAML files that state them.

Defaults are the values of the `mini` profile, so that a notebook that is opened by itself does
what `qponder run mini` does.
"""

from qponder_lib.config.base import Section
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
    JudgeConfig,
    PredictConfig,
    StudentConfig,
)
from qponder_lib.config.training import GrpoConfig, LaunchConfig, SftConfig
from qponder_lib.config.video import OPTIONAL_SECTIONS, ClipsConfig, MotionConfig, VideoConfig

ALL_SECTIONS: dict[str, type[Section]] = {**SECTIONS, **OPTIONAL_SECTIONS}

__all__ = [
    "ALL_SECTIONS",
    "OPTIONAL_SECTIONS",
    "SECTIONS",
    "ClipsConfig",
    "DataConfig",
    "DistillConfig",
    "EvaluateConfig",
    "FilterConfig",
    "GrpoConfig",
    "JudgeConfig",
    "LaunchConfig",
    "MotionConfig",
    "PredictConfig",
    "Profile",
    "Section",
    "SftConfig",
    "StudentConfig",
    "Study",
    "StudyRun",
    "VideoConfig",
    "dump_profile",
    "load_profile",
    "load_profile_or_study",
    "profile_path",
]
