"""The form of everything that the doctor says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Finding", "Level"]

Level = Literal["fault", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        check: which check found it, e.g. "vertical offset"; stable, for programs.
        level: "fault" spoils results until it is mended; "note" is worth knowing.
        value: its number.
        unit: of the number; "" for a plain ratio.
        limit: from which number on it is found; None where nothing is compared.
        what: what was found, in words.
        fix: what to do about it.
    """

    check: str
    level: Level
    value: float
    unit: str
    limit: float | None
    what: str
    fix: str

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a JSON object."""
        return asdict(self)

    def words(self) -> str:
        """Return the finding as one line for a person."""
        return f"{self.level}: {self.check}: {self.what}; {self.fix}"
