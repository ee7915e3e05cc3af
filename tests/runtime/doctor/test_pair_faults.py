"""The doctor's bar: planted faults are found on ten real pairs, and 72 sound pairs are sound."""

import math

import numpy as np
import pytest
from faults import BAR_FAULTS, FAULTS, PAIRS, load

from litestereo.runtime.doctor.pair import check_pair
from litestereo.runtime.doctor.rig import check_rig


@pytest.fixture(scope="module")
def pairs(shared):
    """Return the ten pairs as name -> (left, right, the next pair's right, disparity)."""
    loaded = {name: load(shared / name) for name in PAIRS}
    rights = [right for _, right in loaded.values()]
    others = [*rights[1:], rights[0]]
    return {
        name: (*pair, other, PAIRS[name])
        for (name, pair), other in zip(loaded.items(), others, strict=True)
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(pairs, fault):
    expected, plant = FAULTS[fault]
    expected = {expected} if isinstance(expected, str) else set(expected)
    missed = {}
    # The bar's faults on all ten pairs, the others on four, for the time that it takes.
    tried = list(pairs.items())[: 10 if list(FAULTS).index(fault) < BAR_FAULTS else 4]
    for name, pair in tried:
        found = {f.check: f for f in check_pair(*plant(*pair)).findings if f.level == "fault"}
        hits = [found[check] for check in expected & set(found)]
        if not hits:
            missed[name] = list(found)
        for finding in hits:
            assert finding.what
            assert finding.fix
            assert math.isfinite(finding.value)
    assert not missed


def test_sizes_of_the_faults_are_measured(pairs):
    for name, pair in list(pairs.items())[:2]:
        sound = check_pair(*pair[:2]).matches
        lower = check_pair(*FAULTS["lower by 2 px"][1](*pair)).matches
        assert lower.offset_px - sound.offset_px == pytest.approx(2, abs=0.15), name
        rolled = check_pair(*FAULTS["turned by half a degree"][1](*pair)).matches
        assert abs(rolled.roll_degrees - sound.roll_degrees) == pytest.approx(0.5, abs=0.06), name
        darker = check_pair(*FAULTS["darker"][1](*pair)).light
        assert darker.gain == pytest.approx(0.6, abs=0.06), name


def test_the_wrong_calibration_scale_is_found(pairs, tmp_path):
    """The twelfth fault: K.txt made at half, or at double, the size of the pictures."""
    for index, (name, (left, right, _, _)) in enumerate(pairs.items()):
        height, width = left.shape[:2]
        factor = 2.0 if index % 2 else 0.5
        numbers = np.array([width, 0, width / 2 + 9, 0, width, height / 2 - 7, 0, 0, 1])
        numbers[[0, 2, 4, 5]] *= factor
        path = tmp_path / "K.txt"
        path.write_text(f"{' '.join(f'{n:g}' for n in numbers)}\n0.1\n")
        rig = check_rig(left, right, calibration=(path,))
        faults = {f.check for f in rig.findings if f.level == "fault"}
        assert faults & {"calibration scale", "calibration"}, (name, factor)
        path.write_text(f"{width} 0 {width / 2 + 9} 0 {width} {height / 2 - 7} 0 0 1\n0.1\n")
        rig = check_rig(left, right, calibration=(path,))
        assert not [f for f in rig.findings if f.level == "fault"], name


def test_no_false_alarm_on_the_shared_pairs(shared):
    found = [sorted((shared / part).glob("*/*/left.png")) for part in ("eval", "calib")]
    assert [len(each) for each in found] == [26, 46]
    # Every third of those without ground truth: a pair takes half a second.
    folders = [picture.parent for picture in (*found[0], *found[1][::3])]
    alarms = {}
    for folder in folders:
        found = check_pair(*load(folder)).findings
        if found:
            alarms[str(folder.relative_to(shared))] = [finding.words() for finding in found]
    assert not alarms


def test_no_false_alarm_on_the_shared_calibrations(shared):
    files = sorted(shared.glob("eval/*/*/calib.txt"))
    assert len(files) == 4
    for file in files:
        rig = check_rig(*load(file.parent), calibration=(file,))
        assert not [f.words() for f in rig.findings if f.level == "fault"], file
