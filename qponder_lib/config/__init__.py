"""Profiles, YAML files that state the settings of a run, and studies, lists of varied runs.

A profile has a section for each stage (`sections`, `training`, `video`). Defaults are the values
of the `mini` profile, so that a notebook that is opened by itself does what `qponder run mini`
does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from qponder_lib import paths
from qponder_lib.config.sections import (
    ClipsConfig,
    DataConfig,
    DistillConfig,
    FilterConfig,
    JudgeConfig,
    MotionConfig,
    PredictConfig,
    Section,
    StudentConfig,
    VideoConfig,
)
from qponder_lib.config.training import GrpoConfig, LaunchConfig, SftConfig


class SettingsError(ValueError):
    """Settings that no run can have; `problems` has a sentence for each."""

    def __init__(self, where: str, problems: list[str]) -> None:
        more = [f"and {len(problems) - 3} more"] if len(problems) > 3 else []
        super().__init__(f"{where}: {'; '.join(problems[:3] + more)}")
        self.problems = problems


class Profile(BaseModel):
    """All settings of a run; without `clips` and `video` there is no video model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    description: str
    data: DataConfig = DataConfig()
    distill: DistillConfig = DistillConfig()
    filter: FilterConfig = FilterConfig()
    student: StudentConfig = StudentConfig()
    sft: SftConfig = SftConfig()
    grpo: GrpoConfig = GrpoConfig()
    predict: PredictConfig = PredictConfig()
    judge: JudgeConfig = JudgeConfig()
    launch: LaunchConfig = LaunchConfig()
    clips: ClipsConfig | None = None
    motion: MotionConfig | None = None
    video: VideoConfig | None = None

    @model_validator(mode="after")
    def _clips_and_video_go_together(self) -> Self:
        if (self.clips is None) != (self.video is None):
            raise ValueError("expected both sections, clips and video, or neither")
        if self.motion is not None and self.video is None:
            raise ValueError("section motion warms up the video model; expected video and clips")
        return self

    @model_validator(mode="after")
    def _start_is_trained(self) -> Self:
        if self.grpo.start_from not in self.sft.variants:
            raise ValueError(
                f"grpo.start_from is {self.grpo.start_from!r}, sft.variants are {self.sft.variants}"
            )
        return self

    @model_validator(mode="after")
    def _pool_fits_the_prompt(self) -> Self:
        if self.grpo.exploration_steps and self.student.prompt_id != "preresq_image":
            raise ValueError(
                "grpo.exploration_steps draws from the prompts for five aspects; "
                f"student.prompt_id is {self.student.prompt_id!r}, not 'preresq_image'"
            )
        return self

    @model_validator(mode="after")
    def _steps_divide_over_processes(self) -> Self:
        self.grpo.batch(self.launch.processes)
        return self

    @property
    def warms_up_on_mosaics(self) -> bool:
        """Whether the video model starts from a model warmed up on mosaics (decision D75)."""
        return self.motion is not None and self.motion.steps > 0

    def sections(self, *names: str) -> dict[str, Section]:
        """Return some sections by their names."""
        return {name: getattr(self, name) for name in names}

    def with_overrides(self, overrides: Mapping[str, Any]) -> Profile:
        """Return a copy with some fields replaced.

        Args:
            overrides: Values by `section.field`. One of `clips`, `motion` or `video` brings all
                three sections in, the rest of them at the defaults.

        Raises:
            SettingsError: If a name is unknown or a value does not fit.

        Example:
            >>> profile = Profile(name="p", description="d")
            >>> profile.with_overrides({"filter.gamma": 0.5}).filter.gamma
            0.5
        """
        values = self.model_dump()
        if {name.partition(".")[0] for name in overrides} & set(OPTIONAL_SECTIONS):
            values |= {name: values[name] or {} for name in OPTIONAL_SECTIONS}
        for name, value in overrides.items():
            section, _, field = name.partition(".")
            if section not in SECTIONS or not field:
                raise SettingsError(self.name, [_unknown(name)])
            values[section][field] = value
        return _validated(Profile, values, self.name)


OPTIONAL_SECTIONS: dict[str, type[Section]] = {
    "clips": ClipsConfig,
    "motion": MotionConfig,
    "video": VideoConfig,
}
"""Sections that a profile may leave out: there is no video model then."""
SECTIONS: dict[str, type[Section]] = {
    name: OPTIONAL_SECTIONS.get(name, field.annotation)
    for name, field in Profile.model_fields.items()
    if name not in ("name", "description")
}


Model = TypeVar("Model", bound=BaseModel)


def _validated(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(where, [_said(one) for one in error.errors()]) from None


def _said(problem: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return _unknown(name)
    message = problem["msg"].removeprefix("Value error, ")
    if not name or isinstance(problem["input"], Mapping | BaseModel):
        return f"{name}: {message}" if name else message
    return f"{name}: {message}, got {problem['input']!r}"


def _unknown(name: str) -> str:
    known = [f"{section}.{one}" for section in SECTIONS for one in SECTIONS[section].names()]
    section = f"{name.partition('.')[0]}."
    listed = [one for one in known if one.startswith(section)] or SECTIONS
    return f"unknown setting {name!r}{paths.instead(name, known, else_listed=listed)}"


class Study(BaseModel):
    """Several runs of one base profile, one after another.

    Attributes:
        name: Folder below `papermill_runs/`.
        description: What it is for, and how long it takes.
        base: Profile that the runs vary.
        runs: What each run sets, as `section.field`, by its name; in their order.
        notebook: Number of a notebook that shows the study, executed last; none if empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    base: str
    runs: dict[Annotated[str, AfterValidator(paths.safe_name)], dict[str, Any]] = Field(
        min_length=1
    )
    notebook: str = Field("", pattern=r"|\d{2}")

    def profiles(self) -> dict[str, Profile]:
        """Return the profile of each run, by its name.

        Raises:
            SettingsError: If a setting is unknown or a value does not fit.
        """
        base = load_profile(self.base)
        return {name: base.with_overrides(changes) for name, changes in self.runs.items()}


def profile_path(path_or_name: str | Path) -> Path:
    """Return the file of a profile: a name below `papermill_runs/profiles`, or a path to YAML.

    Raises:
        FileNotFoundError: If there is none; the message names near ones, or all there are.
    """
    text = str(path_or_name)
    if text.endswith((".yaml", ".yml")):
        path = Path(text)
        path = path if path.is_absolute() or path.exists() else paths.repository_root() / path
        if not path.is_file():
            raise FileNotFoundError(f"no profile at {path}")
        return path
    path = paths.profiles_root() / f"{paths.safe_name(text)}.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"no profile {text!r}{paths.instead(text, profile_names())}")
    return path


def profile_names() -> list[str]:
    """Return the names of all profiles and studies."""
    return sorted(file.stem for file in paths.profiles_root().glob("*.yaml"))


def load_profile(path_or_name: str | Path) -> Profile:
    """Read a profile.

    Args:
        path_or_name: Name of a file in `papermill_runs/profiles`, or a path ending in `.yaml`.

    Raises:
        FileNotFoundError: If there is no such file.
        SettingsError: If a field is unknown, of the wrong type or out of range.
    """
    loaded = load_profile_or_study(path_or_name)
    if isinstance(loaded, Study):
        raise ValueError(f"{path_or_name} is a study, a list of runs; expected one profile")
    return loaded


def load_profile_or_study(path_or_name: str | Path) -> Profile | Study:
    """Read a profile or, where the file has `runs`, a study. Errors as in `load_profile`."""
    path, where = profile_path(path_or_name), str(path_or_name)
    values = _read_yaml(path)
    if "runs" in values:
        return _validated(Study, values, where)
    try:
        return _validated(Profile, _on_its_base(values), where)
    except SettingsError as error:
        if path.name != "profile.yaml":
            raise
        reason = (
            "the run was made with other settings than this version of the kit has "
            f"({error.problems[0]}); `qponder run PROFILE --run NAME` brings its folder up to date"
        )
        raise SettingsError(where, [reason]) from None


def _on_its_base(values: dict[str, Any], above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Lay the settings of a file over those of the profile that it names as its base."""
    base = values.pop("base", None)
    if base is None:
        return values
    below = _read_yaml(profile_path(base))
    if base in above or "runs" in below:
        raise ValueError(f"base {base!r} is {'its own' if base in above else 'a study'}: no base")
    merged = _on_its_base(below, (*above, base))
    for name, stated in values.items():
        both = isinstance(stated, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = {**merged[name], **stated} if both else stated
    return merged


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML lets a second key win silently; a profile must not."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [key.value for key, _ in node.value]
    if len(set(keys)) != len(keys):
        raise ValueError(f"duplicate key in {node.start_mark}: {keys}")
    loader.flatten_mapping(node)  # "<<" takes another mapping over; what is stated here wins
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a mapping of sections, got {type(values).__name__}")
    return values


def dump_profile(profile: Profile) -> str:
    """Return a profile as YAML that `load_profile` reads back to an equal one."""
    absent = {name for name in OPTIONAL_SECTIONS if getattr(profile, name) is None}
    values = profile.model_dump(mode="json", exclude=absent)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
