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
    """A picture, a file or an argument cannot be used as it is.

    Cause: a file is missing, damaged, too large or of another format; sizes of left and right
        differ; an option is out of its range; or the place of a result cannot be written.
    Fix: the message names the file or the option and what it must be; for a calibration or a
        pair, `stereo-doctor` looks for the fault.
    """


class CheckpointError(LiteStereoError):
    """Weights cannot be read, or do not fit the model.

    Cause: a checkpoint of another model, a damaged download, or a file that is more than tensors
        and would have to run code to be read.
    Fix: name the model that the weights were trained for; get the file again; save its state dict
        alone, as .safetensors or with torch.save.
    """


class ExportError(LiteStereoError):
    """A graph could not be made, or did not pass its gate.

    Cause: an operator or a size that the export has no form for, or answers that differ from
        torch's by more than the tolerance.
    Fix: the message says which node or picture is off; choose another precision, size or
        exporter, or raise the tolerance knowingly. Nothing is written that did not pass.
    """


class CalibrationError(LiteStereoError):
    """A calibration set is missing, too small or unsuitable.

    Cause: an INT8 export was given a folder that is no set, one with too few pairs, or one whose
        pictures were changed since.
    Fix: make a set from pictures of the robot's own cameras with `stereo-calibrate`.
    """


class TrainingError(LiteStereoError):
    """Training data or a training state cannot be used.

    Cause: a folder of pairs without pairs or without ground truth, a state of another model or
        stage, or a teacher that does not run.
    Fix: give the folder that the message asks for; resume with the options that the run began
        with, or choose a new output folder.
    """


class EngineError(LiteStereoError):
    """An artefact or engine cannot run here: it is stale, foreign or broken.

    Cause: a file that `stereo-export` did not write, of another version or cut off; a GPU, driver,
        CUDA or TensorRT that is missing or does not fit; memory that is used up; an engine that
        was closed.
    Fix: export the artefact again with this version; `stereo-doctor` says what is missing on this
        machine; a smaller size or another backend needs less memory.
    """


class MissingDependencyError(LiteStereoError):
    """An optional package is missing; the message names what to install.

    Cause: the asked-for step needs a package that plain `pip install litestereo` leaves out.
    Fix: run the command in the message, such as `pip install 'litestereo[export]'`; on a Jetson
        take the system's own TensorRT and OpenCV.
    """

    def __init__(
        self, package: str, *, purpose: str, extra: str = "", install: str | None = None
    ) -> None:
        """Name the missing `package`, the `purpose` it serves and the `extra` that brings it.

        `install` says how to get what no extra brings, such as a package of the system.

        Args:
            package: what is missing.
            purpose: what needs it.
            extra: of litestereo that brings it.
            install: how to get what no extra brings, such as a package of the system.
        """
        super().__init__(
            f"{package} is not installed; {purpose} needs it. "
            + (install or f"Install it with: pip install 'litestereo[{extra}]'")
        )
        self.package = package
        self.extra = extra
