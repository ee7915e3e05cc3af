"""Rectification inside the graph: the same pictures, the same metres, from raw pairs alone."""

import dataclasses
import json
import shutil

import cv2
import numpy as np
import onnx
import pytest
import rigs
from stand_in import expected, stand_in_manifest, write_raw_stand_in, write_stand_in
from test_rectify import BAR_PX, center_near, drawn, scattered

from litestereo.cli import run_main
from litestereo.errors import EngineError, ExportError, InputError
from litestereo.export.rectification import rectifying_graph, sampling_error_levels
from litestereo.runtime.batch import OutputOptions, result_notes
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.geometry import Validity
from litestereo.runtime.geometry.calibration import rotation_matrix
from litestereo.runtime.geometry.in_graph import GraphRectification, for_network
from litestereo.runtime.geometry.read import read_calibration
from litestereo.runtime.geometry.rectify import Rectifier, rectified_calibration
from litestereo.runtime.manifest import InputSpec
from litestereo.runtime.stream import DeadlineOptions, Level, StreamOptions

SIZE = (256, 320)


@pytest.fixture(params=["radtan", "equidistant"])
def rig(request, tmp_path):
    path = tmp_path / "rig.yaml"
    path.write_text(rigs.kalibr(lens=request.param))
    return read_calibration(path, size=rigs.SIZE)


@pytest.fixture
def raw_rig(tmp_path):
    return read_calibration(rigs.opencv_files(tmp_path), size=rigs.SIZE)


@pytest.fixture
def engine(raw_rig, tmp_path):
    path = write_raw_stand_in(tmp_path / "raw.onnx", raw_rig, size=SIZE, gain=0.2)
    with StereoEngine.load(path, threads=1) as engine:
        yield engine


@pytest.fixture
def pair(rng):
    small = rng.integers(30, 200, (2, 24, 32, 3), np.uint8)
    return [cv2.resize(picture, rigs.SIZE[::-1]) for picture in small]


@pytest.mark.parametrize("size", [(480, 640), (416, 608)])
def test_raw_pairs_come_back_rectified(rig, rng, tmp_path, size):
    points, *raw = scattered(rig, rng)
    images = [np.repeat(drawn(pixels)[..., None], 3, axis=2) for pixels in raw]
    answers = []
    # The stand-in's disparity is the left picture that it sees; each eye is put there in turn.
    for number, side in enumerate(("left", "right")):
        path = write_raw_stand_in(tmp_path / f"{side}.onnx", _with_left(rig, side), size=size,
                                  gain=1.0)  # fmt: skip
        with StereoEngine.load(path, threads=1) as engine:
            answers.append(engine(images[number], images[number]).disparity_px)
    calibration = rectified_calibration(for_network(rig, size=size, multiple_of=32))
    eye = calibration.left
    turn = rotation_matrix(for_network(rig, size=size, multiple_of=32).given.left_rotation)
    turned = points @ turn.T
    x = eye.fx_px * turned[:, 0] / turned[:, 2] + eye.cx_px
    y = eye.fy_px * turned[:, 1] / turned[:, 2] + eye.cy_px
    d = eye.fx_px * rig.baseline_m / turned[:, 2] - calibration.doffs_px
    inside = (x > 14 + d) & (x < size[1] - 14) & (y > 14) & (y < size[0] - 14)
    assert inside.sum() > 40
    errors = [
        [*(np.array(center_near(answers[0], u, v)) - (u, v)),
         *(np.array(center_near(answers[1], u - w, v)) - (u - w, v))]
        for u, v, w in zip(x[inside], y[inside], d[inside], strict=True)
    ]  # fmt: skip
    assert np.abs(errors).max() <= BAR_PX


def _with_left(rig, side):
    """Return the rig, or one whose left eye is the right one, rectified as it was."""
    if side == "left":
        return rig
    plan = for_network(rig, size=None, multiple_of=1).given
    both = dataclasses.replace(plan, left=plan.right, left_rotation=plan.right_rotation)
    return dataclasses.replace(rig, left=rig.right, given=both)


def test_it_is_the_rectification_of_the_cpu(engine, pair):
    rig = engine.rig()
    assert (rig.size, engine.fixed_size) == (SIZE, rigs.SIZE)
    result = engine(*pair)
    disparity_px, confidence = expected(*rig.rectified(*pair), gain=0.2)
    seen = rig.depth(result).validity != Validity.OUTSIDE
    # OpenCV takes steps of 1/32 px and rounds to whole levels; the graph does neither.
    assert np.abs(result.disparity_px - disparity_px)[seen].max() < 0.2 * 2
    # Past the right picture's end OpenCV sees black and the graph the last pixel.
    assert np.quantile(np.abs(result.confidence - confidence)[seen], 0.98) < 0.01
    assert result.disparity_px.shape == SIZE


def test_nothing_is_known_where_the_raw_picture_ends(raw_rig, pair, tmp_path):
    plan = for_network(raw_rig, size=None, multiple_of=32).given
    moved = dataclasses.replace(plan.left, cx_px=plan.left.cx_px + 150)
    shifted = dataclasses.replace(raw_rig, given=dataclasses.replace(plan, left=moved))
    path = write_raw_stand_in(tmp_path / "shifted.onnx", shifted, size=SIZE)
    with StereoEngine.load(path, threads=1) as engine:
        result = engine(*pair)
        depth = engine.rig().depth(result)
    outside = depth.validity == Validity.OUTSIDE
    assert 0.1 < outside.mean() < 0.5
    assert outside[:, :30].all()
    # The graph knows the left picture's end; where a match lies in the black the rig looks up.
    rectifier = Rectifier(for_network(shifted, size=SIZE, multiple_of=32))
    assert outside[rectifier.outside].all()
    assert (result.confidence[rectifier.outside] == 0).all()
    assert (result.confidence[~rectifier.outside] > 0).all()


def test_grey_pictures_and_slices_are_taken(engine, pair):
    grey = [picture[..., 0] for picture in pair]
    reversed_twice = [np.repeat(g[:, ::-1, None], 3, axis=2)[:, ::-1] for g in grey]
    np.testing.assert_array_equal(engine(*grey).disparity_px, engine(*reversed_twice).disparity_px)


def test_large_pictures_are_averaged_before_they_are_sampled(raw_rig, tmp_path):
    rows, columns = np.mgrid[: rigs.SIZE[0], : rigs.SIZE[1]]
    board = np.repeat((255 * ((rows + columns) % 2)).astype(np.uint8)[..., None], 3, axis=2)
    path = write_raw_stand_in(tmp_path / "small.onnx", raw_rig, size=(128, 160), gain=1.0)
    with StereoEngine.load(path, threads=1) as engine:
        seen = engine(board, board).disparity_px
    assert np.abs(seen - 127.5).max() < 128 / 9 + 1, "squares of 3x3: one pixel is left over"


@pytest.mark.parametrize("size", [None, (128, 160)])
def test_the_sampling_is_exact(rig, size):
    fitted = GraphRectification(for_network(rig, size=size, multiple_of=32), "0" * 64)
    assert fitted.size == (size or rigs.SIZE)
    assert 0 < sampling_error_levels(fitted) < 0.02


def test_pictures_of_another_size_are_refused(engine, pair):
    half = [picture[::2, ::2] for picture in pair]
    with pytest.raises(
        InputError, match=r"pictures are 240x320 and the artefact takes 480x640, raw"
    ):
        engine(*half)


@pytest.mark.parametrize("options", [{"scale": 0.5}, {"max_disparity_px": 300},
                                     {"fit_within": (240, 320)}])  # fmt: skip
def test_another_scale_is_refused(raw_rig, tmp_path, options):
    path = write_raw_stand_in(tmp_path / "raw.onnx", raw_rig, size=SIZE)
    with pytest.raises(InputError, match="cannot run at another size"):
        StereoEngine.load(path, **options)
    StereoEngine.load(path, max_disparity_px=188).close()


def test_an_artefact_without_a_rig_says_so(tmp_path, pair):
    with StereoEngine.load(write_stand_in(tmp_path / "plain.onnx")) as engine:
        assert engine.calibration is None
        assert engine.as_seen(*pair)[0] is pair[0]
        with pytest.raises(InputError, match="--calib"):
            engine.rig()


def test_rectified_calibrations_are_refused(raw_rig):
    with pytest.raises(InputError, match="nothing to rectify"):
        for_network(rectified_calibration(raw_rig), size=SIZE, multiple_of=32)


def test_only_casts_may_read_the_pictures(raw_rig):
    graph = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (uint8[32,32,3] left, uint8[32,32,3] right) '
        "=> (uint8[32,32,3] disparity) { disparity = Identity(left) }"
    )
    rectification = GraphRectification(for_network(raw_rig, size=(32, 32), multiple_of=32), "")
    with pytest.raises(ExportError, match="only casts"):
        rectifying_graph(graph, rectification)


def _spoilt(data, *path, value):
    data = json.loads(json.dumps(data))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("rig",), None), (("rig", "left", "fx_px"), "many"), (("rig", "given"), None),
        (("rig", "given", "size"), [0, 3]), (("rig", "rotation"), [1, 2]),
        (("rig", "rectified"), True), (("rig", "colour"), "blue"), (("rig", "size"), [480]),
    ],
)  # fmt: skip
def test_manifests_that_describe_no_rig_are_refused(raw_rig, path, value):
    rectification = GraphRectification(for_network(raw_rig, size=SIZE, multiple_of=32), "0" * 64)
    good = json.loads(json.dumps(rectification.to_json()))
    assert GraphRectification.from_json(good) == rectification
    with pytest.raises(EngineError):
        GraphRectification.from_json(_spoilt(good, *path, value=value))


@pytest.mark.parametrize("changes", [{"input": InputSpec(64, 96)}, {"input": InputSpec()},
                                     {"size": [64, "96"]}])  # fmt: skip
def test_manifests_whose_sizes_disagree_are_refused(raw_rig, tmp_path, changes):
    rectification = GraphRectification(for_network(raw_rig, size=SIZE, multiple_of=32), "0" * 64)
    data = {**rectification.to_json(), **({"size": changes["size"]} if "size" in changes else {})}
    size = changes.get("input", InputSpec(*rigs.SIZE))
    with pytest.raises(EngineError):
        _load_with(tmp_path / "odd.onnx", input=size, rectification=data)


def _load_with(path, **manifest):
    manifest = stand_in_manifest(**manifest).to_json()
    StereoEngine.load(write_stand_in(path, manifest=manifest)).close()


def test_a_stream_takes_raw_pairs(engine, pair):
    stream = engine.stream([pair, pair], post=lambda result: rig.depth(result.stereo).copy())
    rig = engine.rig()
    results = list(stream)
    assert len(results) == 2
    assert results[0].post.depth_m.shape == SIZE
    ladder = DeadlineOptions(50, levels=(Level("full"), Level("half", 0.5)))
    with pytest.raises(InputError, match="480x640"):
        engine.stream([pair], options=StreamOptions(deadline=ladder))


@pytest.fixture
def run(raw_rig, tmp_path, capsys):
    model = write_raw_stand_in(tmp_path / "raw.onnx", raw_rig, size=SIZE, gain=0.2)

    def command(images, *arguments):
        folder = tmp_path / "pictures"
        for side, image in zip(("left", "right"), images, strict=True):
            (folder / side).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / side / "0.png"), image[..., ::-1])
        pictures = [folder / side / "0.png" for side in ("left", "right")]
        if "--folder" in arguments:
            pictures = [folder]
            arguments = [a for a in arguments if a != "--folder"]
            pictures = ["--folder", folder]
        given = [*pictures, "-m", model, *arguments, "-o", tmp_path / "out", "--allow-swapped"]
        try:
            status = run_main(list(map(str, given)))
        except SystemExit as leaving:
            status = leaving.code or 0
        out, err = capsys.readouterr()
        return status, json.loads(out) if out else None, err

    return command


def test_the_command_needs_no_calibration(run, engine, pair, tmp_path):
    status, summary, err = run(pair, "--depth", "--cloud", "--view", "--npy")
    assert status == 0, err
    report = summary["pairs"][0]
    depth_m = np.load(report["files"]["depth_npy"])
    rig = engine.rig()
    expected_m = rig.depth(engine(*pair)).depth_m
    seen = np.isfinite(depth_m)
    assert seen.mean() > 0.5
    np.testing.assert_allclose(depth_m[seen], expected_m[seen], rtol=1e-5)
    assert report["metric"]["calibration"]["focal_px"] == pytest.approx(
        rig.calibration.focal_px, abs=1e-3
    )
    assert report["metric"]["points"] == seen.sum()
    assert cv2.imread(report["files"]["panel"]) is not None
    status, summary, err = run(pair, "--view")
    assert summary["pairs"][0]["metric"]["depth_m"], "a rig that is known gives metres"


@pytest.mark.parametrize(
    ("limit", "reason"),
    [(["--near", "30"], "too_near"), (["--far", "0.02"], "too_far"),
     (["--min-confidence", "1"], "low_confidence"), (["--speckle", "100000"], "speckle")],
)  # fmt: skip
def test_limits_reach_the_page_of_a_rig_that_is_known(run, pair, limit, reason):
    shares = [run(pair, "--view", *more)[1]["pairs"][0]["metric"]["validity"]
              for more in ([], limit)]  # fmt: skip
    assert shares[0][reason] < shares[1][reason]


def test_the_stream_of_the_command_needs_none_either(run, pair):
    status, summary, err = run(pair, "--folder", "--depth", "--view")
    assert status == 0, err
    assert summary["saved"] == summary["health"]["frames_out"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--calib", __file__, "--depth"], "by its own calibration"),
     (["--rectified"], "leave --rectified out"), (["--second-pass"], "mirrors"),
     (["--scale", "0.5"], "another size")],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(run, pair, arguments, words):
    status, _, err = run(pair, *arguments)
    assert status == 1
    assert words in err


def test_a_model_may_have_any_name(run, pair, tmp_path):
    shutil.copy(tmp_path / "raw.onnx", tmp_path / "rig.model")
    status, summary, err = run(pair, "--depth", "-m", tmp_path / "rig.model")
    assert status == 0, err
    assert summary["pairs"][0]["metric"]["depth_m"]


def test_the_advice_for_a_longer_range_is_another_export(raw_rig, pair, tmp_path):
    path = write_raw_stand_in(tmp_path / "far.onnx", raw_rig, size=SIZE, gain=3.0)
    with StereoEngine.load(path, threads=1) as engine:
        notes = result_notes(engine, engine(*pair), options=OutputOptions(tmp_path))
    assert "smaller --height and --width" in notes["range"]


def test_a_closed_engine_knows_no_frame(engine):
    engine.close()
    with pytest.raises(EngineError, match="is closed"):
        engine.frame_for(rigs.SIZE)


def test_rectified_pictures_are_noticed(run, raw_rig, rng):
    texture = cv2.resize(rng.integers(0, 256, (160, 240, 3), np.uint8), (760, 480))
    rectified = texture[:, :640], texture[:, 12:652]
    _, _, err = run([np.ascontiguousarray(picture) for picture in rectified])
    assert "look rectified already" in err
