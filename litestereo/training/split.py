"""Which pairs show one scene, so that none that is trained on also judges."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Sequence

from litestereo.benchmarks.scenes import Scene
from litestereo.errors import TrainingError
from litestereo.runtime.decode import PICTURE_MOST_BYTES
from litestereo.runtime.reading import read_file

__all__ = ["check_apart", "held_out"]

_HELD_OUT_SHARE = 5
# Two copies of a set in one folder are told apart by such an ending.
_COPY = re.compile(r"#\d+$")
# Of MiddEval3, SceneFlow and DrivingStereo: the same scenes in another size or pass.
_VARIANT = re.compile(r"-([QHF]|cleanpass|finalpass|full)$")
# Of Middlebury: a scene in another size within a set, as Teddy_H beside teddy.
_SIZE = re.compile(r"[_-][QHF]$")


def held_out(scenes: Sequence[Scene]) -> tuple[tuple[Scene, ...], tuple[Scene, ...]]:
    """Return the pairs to train on and those to judge by: the last fifth, at least one.

    The last ones in order of set and name, not each fifth: frames of a recording look like their
    neighbours, and what looks like a trained frame is no judge. Pairs of one scene, in another
    pass or size, stay together: they share a name, a truth file or a picture.

    Args:
        scenes: of one or several sets.

    Raises:
        TrainingError: all pairs are of one scene.
        InputError: a picture cannot be read.
    """
    groups = _groups(sorted(scenes, key=_natural))
    count = max(1, len(scenes) // _HELD_OUT_SHARE)
    judges: list[Scene] = []
    while groups and len(judges) < count:
        judges = [*groups.pop(), *judges]
    if not groups:
        raise TrainingError(
            f"all {len(scenes)} pairs are of one scene or too few (they share names, truth files "
            "or pictures), so none can be held out to judge; give pairs of another scene too"
        )
    return tuple(scene for group in groups for scene in group), tuple(judges)


def check_apart(trained: Sequence[Scene], judges: Sequence[Scene]) -> None:
    """Refuse to judge by a scene that is trained on.

    Sizes and passes of one set (`middeval3-H` and `-Q`) have the same scenes under the same names;
    other sets may share a name by chance, as those of KITTI do.

    Args:
        trained: real pairs.
        judges: of the validation.

    Raises:
        TrainingError: a scene is in both.
        InputError: a picture cannot be read.
    """
    if not trained or not judges:
        return
    marks = {mark for scene in trained for mark in _marks(scene)}
    known_as: dict[Hashable, set[tuple[str, str]]] = {}
    for scene in trained:
        known_as.setdefault(_family(scene), set()).add((scene.set, scene.name))
    both = [
        scene.key
        for scene in judges
        if _marks(scene) & marks or known_as.get(_family(scene), set()) - {(scene.set, scene.name)}
    ]
    if both:
        raise TrainingError(
            f"{len(both)} scenes of --validate are trained on ({', '.join(both[:3])}); a score on "
            "them tells nothing: give other folders"
        )


def _groups(scenes: Sequence[Scene]) -> list[list[Scene]]:
    """Return the scenes in groups that share a mark, in order of each group's last member."""
    parents = list(range(len(scenes)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    first: dict[Hashable, int] = {}
    for index, scene in enumerate(scenes):
        for mark in (*_marks(scene), _name(scene)):
            parents[root(index)] = root(first.setdefault(mark, index))
    groups: dict[int, list[Scene]] = {}
    for index, scene in enumerate(scenes):
        group = groups.pop(root(index), [])
        groups[root(index)] = [*group, scene]
    return list(groups.values())


def _marks(scene: Scene) -> set[Hashable]:
    """Return what no two scenes share: the truth file, and the content of either picture."""
    content = (read_file(path, most_bytes=PICTURE_MOST_BYTES) for path in (scene.left, scene.right))
    pictures = {hashlib.sha256(each).digest() for each in content}
    return {*pictures, scene.truth.path.resolve()} if scene.truth else {*pictures}


def _name(scene: Scene) -> str:
    return _SIZE.sub("", _COPY.sub("", scene.name)).lower()


def _family(scene: Scene) -> tuple[str, str]:
    return _VARIANT.sub("", scene.set), _name(scene)


def _natural(scene: Scene) -> list[tuple[str, int]]:
    """Order frame 10 after frame 9."""
    return [
        (text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", scene.key.lower())
    ]
