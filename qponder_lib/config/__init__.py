"""The settings of every stage, and profiles: YAML files that state them.

Defaults are the values of the `mini` profile, so that a notebook that is opened by itself does
what `qponder run mini` does.
"""

from qponder_lib.config.base import Section
from qponder_lib.config.profiles import (
    OPTIONAL_SECTIONS,
    SECTIONS,
    Profile,
    SettingsError,
    Study,
    dump_profile,
    load_profile,
    load_profile_or_study,
    profile_names,
    profile_path,
)
from qponder_lib.config.sections import (
    DataConfig,
    DistillConfig,
    FilterConfig,
    JudgeConfig,
    PredictConfig,
    StudentConfig,
)
from qponder_lib.config.training import GrpoConfig, LaunchConfig, SftConfig
from qponder_lib.config.video import ClipsConfig, MotionConfig, VideoConfig

__all__ = [
    "OPTIONAL_SECTIONS",
    "SECTIONS",
    "ClipsConfig",
    "DataConfig",
    "DistillConfig",
    "FilterConfig",
    "GrpoConfig",
    "JudgeConfig",
    "LaunchConfig",
    "MotionConfig",
    "PredictConfig",
    "Profile",
    "Section",
    "SettingsError",
    "SftConfig",
    "StudentConfig",
    "Study",
    "VideoConfig",
    "dump_profile",
    "load_profile",
    "load_profile_or_study",
    "profile_names",
    "profile_path",
]
