"""The device that torch is asked to measure on."""

from __future__ import annotations

import torch

from litestereo.errors import InputError

__all__ = ["usable_device"]


def usable_device(name: str) -> torch.device:
    """Return a device that torch can put a tensor on.

    Args:
        name: as torch calls it, such as cpu, cuda or cuda:1.

    Raises:
        InputError: torch knows no such device, or cannot use it here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"torch cannot use device {name!r} here: {reason}; choose another --device"
        ) from error
    return device
