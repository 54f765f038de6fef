"""Opens the teacher that a profile names."""

from __future__ import annotations

from qponder_lib.config import DistillConfig
from qponder_lib.teacher import ConcurrentTeacher, Teacher


def open_teacher(config: DistillConfig) -> Teacher | ConcurrentTeacher:
    """Open the offline expert or a client of the server that ``config`` names."""
    if config.teacher == "expert":
        from qponder_lib.teacher.expert import ExpertTeacher

        return ExpertTeacher(config.teacher_model)
    from qponder_lib.teacher.server import ServerTeacher

    return ServerTeacher.from_config(config)
