"""The exception tree: every error that litestereo raises on purpose.

    LiteStereoError
    ├── InputError               a picture, a calibration or an argument that cannot be used
    ├── CheckpointError          weights that do not fit the model
    ├── ExportError              a graph that could not be made or did not pass its gate
    ├── CalibrationError         a calibration set that is missing, too small or unsuitable
    ├── TrainingError            training data or a training state that cannot be used
    ├── EngineError              an artefact or engine that cannot run here (stale, foreign, broken)
    └── MissingDependencyError   an optional package that the asked-for step needs

A message says what came, what is needed and what to do.
"""

from __future__ import annotations

__all__ = [
    "CalibrationError",
    "CheckpointError",
    "EngineError",
    "ExportError",
    "InputError",
    "LiteStereoError",
    "MissingDependencyError",
    "TrainingError",
]


class LiteStereoError(Exception):
    """Base of all litestereo errors; catch this one to catch them all."""


class InputError(LiteStereoError):
    """A picture, a file or an argument cannot be used as it is."""


class CheckpointError(LiteStereoError):
    """Weights cannot be read, or do not fit the model."""


class ExportError(LiteStereoError):
    """A graph could not be made, or did not pass its gate."""


class CalibrationError(LiteStereoError):
    """A calibration set is missing, too small or unsuitable."""


class TrainingError(LiteStereoError):
    """Training data or a training state cannot be used."""


class EngineError(LiteStereoError):
    """An artefact or engine cannot run here: it is stale, foreign or broken."""


class MissingDependencyError(LiteStereoError):
    """An optional package is missing; the message names what to install."""

    def __init__(
        self, package: str, *, purpose: str, extra: str = "", install: str | None = None
    ) -> None:
        """Name the missing `package`, the `purpose` it serves and the `extra` that brings it.

        `install` says how to get what no extra brings, such as a package of the system.
        """
        super().__init__(
            f"{package} is not installed; {purpose} needs it. "
            + (install or f"Install it with: pip install 'litestereo[{extra}]'")
        )
        self.package = package
        self.extra = extra
