"""One notebook, one papermill process: parameters in, a checked executed copy out.

papermill reports success for more than succeeded: a dead kernel leaves a notebook whose cells all
say "completed", `sys.exit(0)` ends a notebook early with exit code 0, and a mistyped parameter is
a line in a log. So parameters are compared with what the notebook declares, and the copy it left
is read before it is believed.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from qponder_lib import artifacts
from qponder_lib.config import SECTIONS, Profile

_SECRET_NAME = re.compile(r"(?i)(^|[_.])(secret|password|passwd|token|api_?key|credentials?)$")
_SECRET_VALUE = re.compile(r"(hf_|sk-|ghp_|github_pat_|AKIA)[A-Za-z0-9_-]{8,}|://[^/\s]*:[^/\s]*@")
_SECONDS_BETWEEN_LINES = 10.0
_CELL = re.compile(r"Executing Cell (\d+)")
_PR_SET_PDEATHSIG = 1
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "utf-8",
}
_KERNEL = {
    "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "display_name": "Python 3",
    "language": "python",
}


class NotebookFailed(RuntimeError):
    """A notebook did not do what it declares."""


class Progress:
    """Show where a notebook is: one line kept up to date on a terminal, plain lines elsewhere."""

    def __init__(self, notebook: Path) -> None:
        """Count the cells that papermill will number (it adds one with the parameters)."""
        self.label, self.last = notebook.stem, ""
        self.n_cells = len(artifacts.read_json(notebook)["cells"]) + 1
        self.started = self.shown = time.monotonic()
        self.live = sys.stdout.isatty()

    def show(self, cell: int, line: str = "") -> None:
        """Take note of a printed line and show it if it is time."""
        self.last = line.strip() or self.last
        now = time.monotonic()
        if now - self.shown < (0.5 if self.live else _SECONDS_BETWEEN_LINES):
            return
        self.shown = now
        text = f"  {self.label}  cell {cell}/{self.n_cells}  {clock(now - self.started)}"
        text += f"  {self.last[:100]}" if self.last else ""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{text[:width]:<{width}}", end="", flush=True)
        else:
            print(text, flush=True)

    def clear(self) -> None:
        """Clear the line."""
        if self.live:
            print("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r", end="")


def clock(seconds: float) -> str:
    """Return a duration as people say it.

    Example:
        >>> clock(61.4)
        '1 min 01 s'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def refuse_secrets(parameters: Mapping[str, Any]) -> None:
    """Raise if a parameter looks like a secret: papermill writes parameters into the notebook.

    Raises:
        ValueError: If a name or a value looks like a token, key or password.

    Example:
        >>> refuse_secrets({"distill_max_tokens": 512})
    """
    for name, value in parameters.items():
        if _SECRET_NAME.search(name) or _SECRET_VALUE.search(str(value)):
            raise ValueError(
                f"parameter {name!r} looks like a secret, and parameters are stored in clear in "
                "the executed notebook; set it in the environment instead"
            )


def declared_parameters(notebook: Path) -> list[str]:
    """Return the names in a notebook's `parameters` cell, as papermill reads them."""
    import papermill  # a second to import, and not needed where nothing has to run

    return list(papermill.inspect_notebook(str(notebook)))


def parameters_of(
    notebook: Path, profile: Profile, *, profile_file: str, run_dir: str
) -> dict[str, Any]:
    """Choose the parameters a notebook gets.

    Args:
        notebook: The notebook; only what it declares is passed.
        profile: Settings; the notebook calls them `<section>_<field>`, such as `filter_gamma`.
        profile_file: Path of the resolved profile, relative to the repository.
        run_dir: Path of the run folder, relative to the repository.

    Returns:
        `profile`, `run_dir` and the settings that the notebook declares; `interactive`, where it
        does, is False: nobody moves a slider here, and a widget's messages can block nbclient
        for ever (jupyter/nbclient issue 312).

    Raises:
        ValueError: If the notebook declares no `profile` or `run_dir`, or a name that starts
            like a section but is none of its fields.
    """
    declared = declared_parameters(notebook)
    values: dict[str, Any] = {"profile": profile_file, "run_dir": run_dir}
    missing = sorted(set(values) - set(declared))
    if missing:
        raise ValueError(
            f"{notebook.name}: unknown parameters {missing}: its cell tagged 'parameters' "
            f"declares {declared}"
        )
    for name in declared:
        section, _, field = name.partition("_")
        if section in SECTIONS:
            if field not in SECTIONS[section].names():
                raise ValueError(f"{notebook.name}: parameter {name!r} is no field of {section}")
            if getattr(profile, section) is None:
                raise ValueError(f"{notebook.name}: profile {profile.name} has no {section}")
            values[name] = getattr(profile, section).model_dump(mode="json")[field]
    if "interactive" in declared:
        values["interactive"] = False
    refuse_secrets(values)
    return values


def child_environment(root: Path, kernels: Path) -> dict[str, str]:
    """Return the environment of a notebook process: inline figures; offline if not said otherwise.

    Args:
        root: The repository.
        kernels: Folder that says what the kernel `python3` is: this very Python, and no other
            that JUPYTER_PATH or the user's own kernels may name so.
    """
    environment = {**_OFFLINE, **os.environ, "QPONDER_ROOT": str(root)}
    environment.pop("MPLBACKEND", None)
    for name, first in (("PYTHONPATH", root), ("JUPYTER_PATH", kernels)):
        parts = [str(first), environment.get(name, "")]
        environment[name] = os.pathsep.join(part for part in parts if part)
    return environment


@contextmanager
def _own_kernel() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="qponder-kernel-") as folder:
        spec = Path(folder) / "kernels" / "python3" / "kernel.json"
        spec.parent.mkdir(parents=True)
        spec.write_text(json.dumps(_KERNEL), encoding="utf-8")
        yield Path(folder)


def execute(
    notebook: Path,
    partial: Path,
    parameters: Mapping[str, Any],
    log_file: Path,
    root: Path,
) -> float:
    """Execute a notebook in its own process group.

    Args:
        notebook: What to execute.
        partial: Where the executed copy grows.
        parameters: From `parameters_of`.
        log_file: Everything the process prints goes here.
        root: The repository; the process works there.

    Returns:
        How long it took, seconds. The copy stays at `partial` whatever happened.

    Raises:
        NotebookFailed: If it did not reach its end.
    """
    for folder in (partial.parent, log_file.parent):
        folder.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    parameter_file = log_file.with_suffix(".params.yaml")
    artifacts.write_text_atomic(parameter_file, yaml.safe_dump(dict(parameters)))
    # Relative, since papermill passes paths through str.format and stores them in the copy.
    names = [os.path.relpath(path, root) for path in (notebook, partial, parameter_file)]
    command = [sys.executable, "-m", "papermill", names[0], names[1], "-f", names[2]]
    command += ["--log-output", "--no-progress-bar", "--start-timeout", "120"]
    started = time.monotonic()
    with log_file.open("wb") as log, _own_kernel() as kernels:
        process = subprocess.Popen(
            command,
            cwd=root,
            env=child_environment(root, kernels),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=_die_with_parent(),
        )
        try:
            _follow(process, log, Progress(notebook))
        except BaseException:
            _stop(process)
            raise
    reason = failure_of(process.returncode, partial)
    if reason is not None:
        raise NotebookFailed(reason)
    return time.monotonic() - started


def _die_with_parent() -> Callable[[], None] | None:
    """On Linux, a runner that is killed takes its papermill along, which takes its kernel along."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _follow(process: subprocess.Popen[bytes], log: BinaryIO, progress: Progress) -> None:
    """Copy what the process prints until it ends, even if a lost kernel holds its pipe open."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    cell, rest = 0, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            ended = process.poll() is not None
            chunk = process.stdout.read(65536) if selector.select(0.0 if ended else 1.0) else None
            if chunk:
                log.write(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    text = line.decode("utf-8", errors="replace").rsplit("\r", 1)[-1]
                    found = _CELL.search(text)
                    cell = int(found.group(1)) if found else cell
                    progress.show(cell, "" if found else text)
            elif ended or chunk == b"":
                process.wait()
                progress.clear()
                return
            else:
                progress.show(cell)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt, so that papermill can end its kernel; kill the group if it does not."""
    for sign, patience in ((signal.SIGINT, 10.0), (signal.SIGKILL, 10.0)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, sign)
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            continue


def relink(copy: Path, root: Path) -> None:
    """Let links of an executed copy lead where those in `notebooks/` do, from wherever it lies.

    Links between notebooks stay: they lead to the copies beside it.
    """
    up = Path(os.path.relpath(root, copy.parent)).as_posix()
    content = json.loads(copy.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            text = re.sub(r"\]\((?:\.\./)+", f"]({up}/", "".join(cell["source"]))
            text = text.replace("](PAPER_INDEX.md", f"]({up}/notebooks/PAPER_INDEX.md")
            cell["source"] = text.splitlines(keepends=True)
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    artifacts.write_text_atomic(copy, text)


def failure_of(exit_code: int, copy: Path) -> str | None:
    """Say why a notebook did not reach its end, by papermill's exit code and the copy it left.

    Args:
        exit_code: Negative for a signal, as in `subprocess`.
        copy: The executed copy, which may be missing.

    Returns:
        The reason, or None if every cell ran.
    """
    if exit_code in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 130, 143):
        return "interrupted: the notebook process was stopped from outside"
    if exit_code in (137, 138):
        return "dead kernel: the kernel died; most often the machine ran out of memory"
    try:
        notebook = artifacts.read_json(copy)
    except (FileNotFoundError, artifacts.ArtifactError):
        return f"failed: exit code {exit_code}"
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for output in (one for cell in cells for one in cell["outputs"]):
        if output["output_type"] == "error" and output["ename"] == "SystemExit":
            return "stopped early: a cell ended the notebook with exit()"
        if output["output_type"] == "error":
            return f"failed: {output['ename']}: {output['evalue']}"
    if exit_code != 0:
        return f"failed: exit code {exit_code}"
    ran = [cell for cell in cells if "".join(cell["source"]).strip()]
    left = sum(cell["execution_count"] is None for cell in ran)
    if left:
        return f"stopped early: {left} of {len(ran)} code cells never ran"
    record = notebook["metadata"].get("papermill", {})
    if not record.get("end_time") or record.get("exception"):
        return "failed: papermill did not record an end without an exception"
    states = {cell["metadata"].get("papermill", {}).get("status") for cell in ran}
    if states - {"completed"}:
        return f"failed: cells are recorded as {sorted(map(str, states))}"
    return None
