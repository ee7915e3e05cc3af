"""One self-contained HTML page: every scene with a left / disparity / error slider, worst first."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

from litestereo.benchmarks.error_map import ERROR_COLORS, color_error
from litestereo.benchmarks.matchers import Match
from litestereo.benchmarks.metrics import MetricOptions, RegionMetrics, scored_disparity
from litestereo.benchmarks.report import EvaluationReport, SceneResult
from litestereo.benchmarks.scenes import GroundTruth, Scene
from litestereo.benchmarks.table import evaluation_table
from litestereo.runtime.disparity_io import write_picture
from litestereo.runtime.files import write_atomic
from litestereo.runtime.opencv import import_cv2
from litestereo.runtime.visualize import color_disparity

__all__ = ["PictureWriter", "write_page"]

_METRICS = ("bad_2", "d1", "epe", "bad_1", "bad_3", "a99")
_LONGEST_SIDE_PX = 960
_JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True)
class _Tile:
    """A scene on the page: its scores and three pictures, as JPEG in data URIs."""

    result: SceneResult
    left: str
    disparity: str
    error: str | None

    @property
    def badness(self) -> float:
        """What the page is sorted by: bad-2 over all pixels; unknown sorts last."""
        metrics = self.result.regions["all"]
        return -1.0 if metrics is None or metrics.bad_2 is None else metrics.bad_2


class PictureWriter:
    """Writes error maps as scenes come in, and keeps what the page shows of the worst of them."""

    def __init__(
        self, folder: Path, *, options: MetricOptions, page: bool = True, most: int = 200
    ) -> None:
        """Say where to.

        Args:
            folder: error maps go to `errors/<set>/<scene>.png` in it.
            options: treatment of holes, so that the maps show what was scored.
            page: whether pictures are kept for `write_page`.
            most: scenes that are kept, the worst ones.
        """
        self._folder = folder
        self._options = options
        self._page = page
        self._most = most
        self._tiles: list[_Tile] = []

    @property
    def tiles(self) -> tuple[_Tile, ...]:
        """What is kept for the page, worst first."""
        return tuple(self._tiles)

    def __call__(
        self, scene: Scene, match: Match, truth: GroundTruth | None, result: SceneResult
    ) -> None:
        """Take one scene: the `watch` of `evaluate`.

        Args:
            scene: where the pictures are.
            match: the matcher's answer.
            truth: None where it is unknown.
            result: the scene's figures.

        Raises:
            InputError: the folder cannot be written.
        """
        error = None
        if truth is not None:
            scored = scored_disparity(match.disparity_px, options=self._options)
            error = color_error(scored, truth.disparity_px, visible=truth.visible)
            write_picture(self._folder / "errors" / f"{result.key}.png", error)
        if self._page:
            self._keep(scene, match, result, error=error, largest=_largest(truth))

    def _keep(
        self,
        scene: Scene,
        match: Match,
        result: SceneResult,
        *,
        error: npt.NDArray[np.uint8] | None,
        largest: float | None,
    ) -> None:
        disparity = color_disparity(match.disparity_px, max_px=largest)
        tile = _Tile(
            result,
            _data_uri(scene.load_pair()[0]),
            _data_uri(disparity),
            None if error is None else _data_uri(error),
        )
        self._tiles.append(tile)
        self._tiles.sort(key=lambda tile: (-tile.badness, tile.result.key))
        del self._tiles[self._most :]


def write_page(path: Path, report: EvaluationReport, *, pictures: PictureWriter) -> Path:
    """Write the page and return its path; it needs no other file and no network.

    Args:
        path: the file.
        report: what `stereo-eval` found.
        pictures: which has seen the scenes.

    Raises:
        InputError: the place cannot be written.
    """
    shown = "\n".join(_figure(tile) for tile in pictures.tiles)
    left_out = len(report.scenes) - len(pictures.tiles)
    note = (
        f"<p>The {len(pictures.tiles)} worst scenes; {left_out} better ones are in the table.</p>"
    )
    broken = "".join(
        f"<li><b>{escape(scene.name)}</b>: {escape(scene.problem)}</li>" for scene in report.broken
    )
    page = _PAGE.format(
        title=escape(report.matcher),
        legend=_legend(),
        sorts="".join(f'<option value="{name}">{_title(name)}</option>' for name in _METRICS),
        table=escape(evaluation_table(report)),
        broken=f"<h2>Not scored</h2><ul>{broken}</ul>" if broken else "",
        note=note if left_out else "",
        figures=shown,
    )
    return write_atomic(path, page.encode())


def _figure(tile: _Tile) -> str:
    metrics = tile.result.regions["all"]
    values = {name: _value(metrics, name) for name in _METRICS}
    data = " ".join(
        f'data-{name}="{-1.0 if value is None else value:.6g}"' for name, value in values.items()
    )
    words = ", ".join(
        f"{_title(name)} {value:.2f}" for name, value in values.items() if value is not None
    )
    layers = [("left", tile.left), ("disparity", tile.disparity)]
    if tile.error is not None:
        layers.append(("error", tile.error))
    images = "".join(f'<img class="{name}" alt="{name}" src="{uri}">' for name, uri in layers)
    last = 100 * (len(layers) - 1)
    ends = "".join(f"<span>{name}</span>" for name, _ in layers)
    return (
        f'<figure {data} style="--x:100"><figcaption><b>{escape(tile.result.key)}</b> '
        f'{words or "no ground truth"}</figcaption><div class="stack">{images}</div>'
        f'<input type="range" min="0" max="{last}" value="100" '
        f'aria-label="left, disparity, error"><div class="ends">{ends}</div></figure>'
    )


def _value(metrics: RegionMetrics | None, name: str) -> float | None:
    return None if metrics is None else getattr(metrics, name)


def _title(metric: str) -> str:
    return metric.replace("_", "-").replace("d1", "D1").replace("epe", "EPE").replace("a99", "A99")


def _legend() -> str:
    """Return the colours of the error maps and what error each begins at."""
    starts = ["0", *(f"{3 * 2.0**power:.3g}" for power in range(-4, 5))]
    return "".join(
        f'<span style="background:rgb{color};color:{"#fff" if index in (0, 1, 8, 9) else "#000"}">'
        f"{start}</span>"
        for index, (color, start) in enumerate(zip(ERROR_COLORS, starts, strict=True))
    )


def _largest(truth: GroundTruth | None) -> float | None:
    return None if truth is None else truth.largest_px


def _data_uri(rgb: npt.NDArray[np.uint8]) -> str:
    """Return the picture as JPEG in a data URI, no longer than the page needs."""
    cv2 = import_cv2("drawing the report page")
    shrink = _LONGEST_SIDE_PX / max(rgb.shape[:2])
    if shrink < 1:
        rgb = cv2.resize(rgb, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    coded = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode()


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}: stereo-eval</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1000px; padding: 0 1rem;
  background: #fff; color: #111; }}
pre {{ overflow-x: auto; font-size: 12px; }}
figure {{ margin: 2rem 0; }}
.stack {{ position: relative; line-height: 0; background: #000; }}
.stack img {{ width: 100%; }}
.stack img + img {{ position: absolute; inset: 0; height: 100%; }}
.disparity {{ clip-path: inset(0 calc(100% - min(var(--x), 100) * 1%) 0 0); }}
.error {{ clip-path: inset(0 calc(200% - max(var(--x), 100) * 1%) 0 0); }}
input[type=range] {{ width: 100%; margin: .5rem 0; }}
.ends {{ display: flex; justify-content: space-between; font-size: 12px; }}
.legend span {{ display: inline-block; padding: 0 .6rem; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #eee; }} }}
</style>
<h1>{title}</h1>
<details><summary>All scores</summary><pre>{table}</pre></details>
{broken}
<p class="legend">Error, px (for disparities over 60 px, in proportion): {legend}</p>
<p>Sorted by <select id="sort">{sorts}</select>, worst first.
All sliders: <input type="range" id="all" min="0" max="200" value="100"
aria-label="all sliders"></p>
{note}
<main>
{figures}
</main>
<script>
const main = document.querySelector("main");
const figures = [...main.children];
function move(figure, value) {{
  const range = figure.querySelector("input");
  range.value = value;
  figure.style.setProperty("--x", range.value);
}}
main.addEventListener("input", (event) =>
  move(event.target.closest("figure"), event.target.value));
document.getElementById("all").addEventListener("input", (event) =>
  figures.forEach((figure) => move(figure, event.target.value)));
document.getElementById("sort").addEventListener("change", (event) => {{
  const key = "data-" + event.target.value;
  figures.sort((a, b) => b.getAttribute(key) - a.getAttribute(key));
  main.append(...figures);
}});
</script>
</html>
"""
