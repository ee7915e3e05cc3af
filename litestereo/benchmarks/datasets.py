"""Find the scenes of stereo data sets as people have them on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from litestereo.benchmarks.layouts import LAYOUTS, Folder
from litestereo.benchmarks.scenes import Scene
from litestereo.errors import InputError

__all__ = ["LAYOUT_NAMES", "BrokenScene", "Found", "find_scenes"]

LAYOUT_NAMES = tuple(LAYOUTS)
# Folders between a set's root and its deepest pictures: SceneFlow's disparity/TEST/A/0000/left.
_ROOT_LEVELS_ABOVE = 5


@dataclass(frozen=True, slots=True)
class BrokenScene:
    """A scene that cannot be scored.

    Attributes:
        name: its set and name, or its folder where not even those are known.
        problem: what is wrong with it, in one line.
    """

    name: str
    problem: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave.

    Attributes:
        scenes: sorted by set and name.
        broken: places that mark a scene but do not describe one.
    """

    scenes: tuple[Scene, ...]
    broken: tuple[BrokenScene, ...]

    @property
    def problem(self) -> str | None:
        """What whoever leaves none out says of the broken ones, in one line; None without any."""
        if not self.broken:
            return None
        first = self.broken[0]
        return (
            f"{len(self.broken)} scenes cannot be read ({first.name}: {first.problem}); mend or "
            "remove them"
        )


def find_scenes(*roots: Path | str, layout: str | None = None) -> Found:
    """Find every scene in and below `roots`.

    A root may be a scene, a set, or a folder of several sets; the layout is recognised folder by
    folder. A root inside a set (KITTI's `image_2`, SceneFlow's `frames_cleanpass/TEST`) selects
    the scenes whose left picture lies in it. A pair is one scene: what its `meta.json` says counts
    more than a layout that is recognised too.

    Args:
        roots: existing folders.
        layout: one of `LAYOUT_NAMES`, where the marks alone do not decide; None recognises it.

    Raises:
        InputError: a root is no folder, the layout is unknown, or a root holds no scene.
    """
    if layout is not None and layout not in LAYOUTS:
        raise InputError(f"layout {layout!r} is unknown; choose one of {', '.join(LAYOUT_NAMES)}")
    scenes: dict[Path, Scene] = {}
    broken: dict[str, BrokenScene] = {}
    for root in map(Path, roots):
        found = _search(root, layout)
        scenes.update({scene.left: scene for scene in found.scenes})
        broken.update({problem.name: problem for problem in found.broken})
    return Found(
        tuple(sorted(_distinct(scenes.values()), key=lambda scene: (scene.set, scene.name))),
        tuple(sorted(broken.values(), key=lambda problem: problem.name)),
    )


def _search(root: Path, layout: str | None) -> Found:
    """Find the scenes of one root, or those of the set around it."""
    if not root.is_dir():
        raise InputError(f"{root} is no folder; pass a data set, a scene or a folder of sets")
    root = root.resolve()
    found = _recognise(_walk(root), layout)
    for above in root.parents[:_ROOT_LEVELS_ABOVE]:
        if found.scenes or found.broken:
            return found
        around = _recognise([_listing(above)], layout)
        inside = tuple(scene for scene in around.scenes if root in scene.left.parents)
        found = Found(inside, ())
    if found.scenes:
        return found
    raise InputError(
        f"{root} holds no scene of {layout or 'any known layout'}; known are "
        f"{', '.join(LAYOUT_NAMES)}; describe a scene with a meta.json, or name its layout to "
        'stereo-eval with --layout: benchmarks/README.md, "Layouts of data sets", says which files '
        "each one has"
    )


def _recognise(folders: Iterable[Folder], layout: str | None) -> Found:
    """Run the recognisers over folders, described scenes last, keeping what is broken apart."""
    names = [layout] if layout else LAYOUT_NAMES
    recognisers = dict.fromkeys(LAYOUTS[name] for name in names)
    scenes: list[Scene] = []
    described: list[Scene] = []
    broken: list[BrokenScene] = []
    for folder in folders:
        folder = replace(folder, forced=layout is not None)
        for recogniser in recognisers:
            try:
                kept = described if recogniser is LAYOUTS["meta"] else scenes
                kept.extend(recogniser(folder))
            except InputError as error:
                broken.append(BrokenScene(str(folder.path), str(error)))
    return Found((*scenes, *described), tuple(broken))


def _walk(root: Path) -> Iterator[Folder]:
    """Yield the listing of every folder in and below `root`, in a fixed order.

    Data sets are often symbolic links, so links are followed; a folder that was seen already ends
    its branch, which a link to a parent would otherwise make endless.
    """
    seen: set[str] = set()
    for path, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(path)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield Folder(Path(path), frozenset(folders), frozenset(files))


def _listing(path: Path) -> Folder:
    return next(_walk(path))


def _distinct(scenes: Iterable[Scene]) -> list[Scene]:
    """Number scenes that share set and name, as two copies of a set in one folder do."""
    seen: dict[str, int] = {}
    distinct = []
    for scene in scenes:
        seen[scene.key] = seen.get(scene.key, 0) + 1
        count = seen[scene.key]
        distinct.append(scene if count == 1 else replace(scene, name=f"{scene.name}#{count}"))
    return distinct
