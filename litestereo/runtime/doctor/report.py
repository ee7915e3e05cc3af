"""Everything that `stereo-doctor` looks at, as one report for programs and for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestereo.runtime.doctor.findings import Finding
from litestereo.runtime.doctor.machine import MachineReport, examine_machine
from litestereo.runtime.doctor.pair import PairDiagnosis, check_pair
from litestereo.runtime.doctor.rig import RigDiagnosis, check_rig
from litestereo.runtime.images import read_pair

__all__ = ["DoctorReport", "examine"]


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """What was looked at and found.

    Attributes:
        machine: None where only the pair was asked for.
        pair: None where no pictures were given.
        rig: with a calibration only.
        size: (height, width) of the pictures.
    """

    machine: MachineReport | None
    pair: PairDiagnosis | None = None
    rig: RigDiagnosis | None = None
    size: tuple[int, int] | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, faults first."""
        parts = (self.machine, self.pair, self.rig)
        found = [finding for part in parts if part is not None for finding in part.findings]
        return tuple(sorted(found, key=lambda finding: finding.level))

    @property
    def faults(self) -> int:
        """How many of the findings are faults."""
        return sum(finding.level == "fault" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "machine": self.machine and self.machine.facts,
            "pair": self.pair and {"size": self.size, **self.pair.measures()},
            "findings": [finding.to_json() for finding in self.findings],
            "faults": self.faults,
        }

    def words(self) -> list[str]:
        """Return the report as lines for a person."""
        lines = []
        if self.machine is not None:
            lines += ["machine", *_lines(self.machine.facts)]
        if self.pair is not None:
            lines += ["pair", *_lines(self.pair.measures())]
        count = "1 fault" if self.faults == 1 else f"{self.faults} faults"
        lines.append(count if self.faults else "no fault found")
        return lines + [f"  {finding.words()}" for finding in self.findings]


def examine(
    pictures: tuple[Path, Path] | None = None,
    *,
    calibration: tuple[Path, ...] = (),
    baseline_m: float | None = None,
    machine: bool = True,
) -> DoctorReport:
    """Return the state of this machine, and of a pair and its calibration where they are given.

    Args:
        pictures: left and right.
        calibration: of the pair, one file or two.
        baseline_m: in metres, where the file has none or an unclear unit.
        machine: look at the machine too.

    Raises:
        InputError: the pictures cannot be read, or are no pair.
    """
    pair = None if pictures is None else read_pair(*pictures)  # first, for it may be refused
    found = examine_machine() if machine else None
    if pair is None:
        return DoctorReport(found)
    size = pair.left.shape[0], pair.left.shape[1]
    if not calibration:
        return DoctorReport(found, check_pair(pair.left, pair.right), size=size)
    rig = check_rig(pair.left, pair.right, calibration=calibration, baseline_m=baseline_m)
    return DoctorReport(found, rig.pair, rig, size)


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {inner}" for key, inner in value.items()) or "none"
        elif isinstance(value, list):
            value = "; ".join(map(str, value)) or "none"
        lines.append(f"  {name}: {value}")
    return lines
