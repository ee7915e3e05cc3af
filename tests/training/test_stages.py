"""Self-distillation, labels from teachers, fine-tuning, validation; each stage on two processes."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from litestereo import StereoEngine
from litestereo.assets import bundled_artifact
from litestereo.benchmarks.scenes import DisparityFile
from litestereo.cli import train_main
from litestereo.errors import LiteStereoError, TrainingError
from litestereo.models import create, load_weights, save_weights
from litestereo.models.refiner import Refiner
from litestereo.training.fine_tune import agrees_better, fine_tune
from litestereo.training.group import Group, joined_group
from litestereo.training.labels import consistent, label_pairs, masked_label, near_edge
from litestereo.training.loss import (
    disparity_loss,
    distribution_loss,
    edge_weights,
    feature_loss,
)
from litestereo.training.objective import SelfDistillation, TruthLoss
from litestereo.training.options import TrainOptions
from litestereo.training.pairs import PairStream, find_training_pairs
from litestereo.training.perturb import perturb
from litestereo.training.scenes.random import Draw
from litestereo.training.scenes.stream import SceneStream
from litestereo.training.scenes.textures import load_atlas
from litestereo.training.stages import make_run, make_truth_run, start_network, train
from litestereo.training.teacher import ForeignTeacher, open_teacher

TINY = {
    "batch": 1,
    "height": 64,
    "width": 64,
    "compile_renderer": False,
    "log_every": 1,
    "texture_size": 64,
}
BUNDLED = bundled_artifact("las1")
PAIRS = 5


@pytest.fixture(scope="module")
def rendered():
    atlas = load_atlas(None, device="cpu", size=64)
    return SceneStream(atlas, batch=PAIRS, size=(64, 96), seed=9, max_disparity_px=24.0).next()


def write_pairs(folder, batch, *, truth):
    """Write pairs as a Middlebury-like set with meta.json, or as bare left.png and right.png."""
    for i in range(PAIRS):
        home = folder / f"scene{i}"
        home.mkdir(parents=True)
        for side, pictures in (("left", batch.left), ("right", batch.right)):
            rgb = pictures[i].permute(1, 2, 0).byte().numpy()
            cv2.imwrite(str(home / f"{side}.png"), rgb[..., ::-1])
        if truth:
            np.save(home / "disp.npy", batch.disparity_px[i, 0].numpy())
            files = {"left": "left.png", "right": "right.png", "gt": "disp.npy"}
            meta = {"set": "rig", "files": files, "gt_encoding": {"kind": "npz"}}
            (home / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.fixture
def bare(tmp_path, rendered):
    return write_pairs(tmp_path / "bare", rendered, truth=False)


@pytest.fixture
def known(tmp_path, rendered):
    return write_pairs(tmp_path / "known", rendered, truth=True)


def shift_teacher(left, right):
    """Answer 4 px everywhere but in a square; the mirrored view agrees on the plane alone."""
    disparity = np.full(left.shape[:2], 4.0, np.float32)
    disparity[20:40, 30:50] = 12.0
    return disparity


# --- perturbing and losses


def test_perturbing_changes_colours_and_hides_parts_of_the_right_alone():
    torch.manual_seed(0)
    ramp = torch.linspace(40, 220, 128).expand(16, 3, 64, 128)
    left, right, hidden = perturb(Draw("cpu", seed=1), ramp, ramp)
    for picture in (left, right):
        assert picture.shape == ramp.shape
        assert torch.equal(picture, picture.round())
        assert picture.min() >= 0
        assert picture.max() <= 255
        assert (picture - ramp).abs().mean() > 3
    assert not torch.equal(left, right)
    flat = (right[..., 1:] == right[..., :-1]).all(1).float().mean((1, 2))
    assert (flat > 0.03).any(), "no patch was hidden"
    assert hidden.any()
    for picture, covered in zip(right, hidden[:, 0], strict=True):
        assert (picture[:, covered] == picture[:, covered][:, :1]).all(), "not of one colour"
    columns = left.mean((1, 2))
    order = torch.corrcoef(torch.cat([columns, ramp[:1, 0, 0]]))[-1, :-1]
    assert order.min() > 0.9  # nothing moved; what is clipped to white lowers it


def test_feature_loss_is_one_minus_cosine():
    mine, theirs = torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    mine[0, 0], theirs[0, 0, 0, 0], theirs[0, 1, 0, 1] = 1.0, 3.0, 1.0
    assert feature_loss([mine], [theirs]) == pytest.approx(0.5)
    assert feature_loss([mine, mine], [theirs, 2 * mine]) == pytest.approx(0.25)


def test_edges_weigh_more_where_both_sides_are_known():
    truth = torch.full((1, 1, 9, 24), 10.0)
    truth[..., 12:] = 30.0
    valid = torch.ones_like(truth, dtype=torch.bool)
    weights = edge_weights(truth, valid, weight=3.0)
    assert weights[0, 0, 4].tolist() == [1] * 8 + [3] * 8 + [1] * 8
    assert torch.equal(edge_weights(truth.mT, valid.mT, weight=3.0), weights.mT)
    slope = torch.arange(24.0).expand_as(truth) * 1.9
    assert torch.equal(edge_weights(slope, valid, weight=3.0), torch.ones_like(truth))
    wrong = torch.where(truth > 20, truth + 5, truth)
    assert disparity_loss(wrong, truth, weights) == pytest.approx(4.5 * (4 * 3 + 8) / (8 * 3 + 16))
    valid[..., 12] = False
    assert torch.equal(edge_weights(truth, valid, weight=3.0), valid.float())


def test_a_robust_error_pulls_half_as_hard_at_its_size_as_at_none():
    error = torch.tensor([0.001, 1.0, 2.0, 200.0], requires_grad=True)
    weight = torch.ones(4)
    loss = disparity_loss(error, torch.zeros(4), weight, robust_px=2.0)
    expected = [2 * np.log(1 + e / 2) + 0.02 * e for e in error.tolist()]
    assert loss.item() == pytest.approx(np.mean(expected))
    loss.backward()
    pull = 4 * error.grad - 0.02
    assert pull.tolist() == pytest.approx([1.0, 2 / 3, 0.5, 2 / 202], rel=1e-2)
    plain = disparity_loss(error, torch.zeros(4), weight)
    assert plain.item() == pytest.approx(np.mean([0.5e-6, 0.5, 1.5, 199.5]))


@pytest.mark.parametrize("size", [-1.0, 0.01, 1000.0, float("nan")])
def test_a_robust_error_of_no_sensible_size_is_refused(tmp_path, size):
    with pytest.raises(TrainingError, match=rf"{size} px must be 0\.1 to 100 px"):
        TrainOptions(output=tmp_path, robust_px=size)


def test_a_distribution_is_judged_by_the_median_of_its_block():
    truth = torch.full((1, 1, 4, 12), 10.0)  # level 2.5: half on 2, half on 3
    truth[..., 4:8] = 40.0
    truth[..., 0, 4:8] = 8.0  # a quarter of the block
    truth[..., 8:] = 191.0  # beyond the last level, 188
    ways = torch.tensor([[2, 3], [10, 10], [47, 47]])
    sure = torch.full((1, 48, 1, 3), -30.0)
    sure.scatter_(1, ways.T.view(1, 2, 1, 3), 30.0)
    everything = torch.ones_like(truth, dtype=torch.bool)
    loss = distribution_loss(sure, truth, everything)
    assert loss == pytest.approx(np.log(2) / 3, abs=1e-5)
    even = distribution_loss(torch.zeros_like(sure), truth, everything)
    assert even == pytest.approx(np.log(48))
    # Pixels that do not count are not looked at: of the second block those on its first side do.
    first = everything.clone()
    first[..., 1:, 4:8] = False
    loss = distribution_loss(sure, truth, first)
    assert loss == pytest.approx((60 / 4 + np.log(2)) / (1 + 1 / 4 + 1), abs=1e-4)
    nothing = torch.zeros_like(everything)
    assert distribution_loss(sure, truth, nothing) == 0


@pytest.mark.parametrize("stage", ["supervised", "self", "truth"])
@pytest.mark.parametrize("name", ["edge_weight", "distribution_weight", "robust_px"])
def test_weights_reach_the_loss(tmp_path, known, stage, name):
    def loss(weight):
        options = TrainOptions(
            output=tmp_path,
            stage="self" if stage == "self" else "supervised",
            weights=BUNDLED,
            **{name: weight},
            **TINY,
        )
        if stage == "truth":
            run = make_truth_run(options, find_training_pairs(known), group=Group())
        else:
            run = make_run(options)
        batch = run.source.next()
        return float(run.module(batch.left, batch.right, batch.disparity_px)[0].detach())

    assert loss(1.0) == loss(1.0)
    assert loss(4.0) != pytest.approx(loss(1.0), rel=1e-3)


@pytest.mark.parametrize("stage", ["real", "self"])
def test_edges_have_no_weight_where_labels_have_no_edges(tmp_path, stage):
    given = {"stage": stage, "pairs": tmp_path, "teacher": "las1", "weights": BUNDLED}
    with pytest.raises(TrainingError, match="needs exact truth"):
        TrainOptions(output=tmp_path, edge_weight=3.0, **given)
    with pytest.raises(TrainingError, match=r"must be 0\.1 to 100"):
        TrainOptions(output=tmp_path, edge_weight=float("inf"), **given)


def test_the_distribution_has_no_weight_without_known_disparities(tmp_path):
    given = {"pairs": tmp_path, "teacher": "las1", "weights": BUNDLED}
    with pytest.raises(TrainingError, match="needs known disparities"):
        TrainOptions(output=tmp_path, stage="self", distribution_weight=0.3, **given)
    # Labels of a teacher are known.
    TrainOptions(output=tmp_path, stage="real", distribution_weight=0.3, **given)


def test_the_self_stage_follows_a_teacher_that_stays_as_it_is(tmp_path):
    options = TrainOptions(
        output=tmp_path, stage="self", weights=BUNDLED, steps=2, peak_learning_rate=1e-3, **TINY
    )
    run = make_run(options)
    objective = run.module
    teacher = objective._teacher[0]
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    line = run.go()
    assert line["follow"] > 0
    assert 0 < line["features"] < 1
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert not any(name.startswith("_teacher") for name, _ in objective.named_parameters())
    student = run.network.state_dict()
    assert any(not torch.equal(student[k], v) for k, v in before.items())


def test_unperturbed_student_equals_its_teacher():
    """The signal of stage self comes from the perturbation alone: without it there is none."""
    from litestereo.training import objective as module

    network = create("las1").eval()
    load_weights(network, BUNDLED)
    distil = module.SelfDistillation(
        network, network, TruthLoss(), seed=1, truth_weight=0.0, feature_weight=1.0
    )
    left = torch.rand(1, 3, 64, 64) * 255
    unknown = torch.full((1, 1, 64, 64), torch.inf)
    original, module.perturb = module.perturb, lambda _, left, right: (left, right, left[:, :1] < 0)
    try:
        loss, _ = distil(left, left, unknown)
    finally:
        module.perturb = original
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(
    ("off_px", "truth_weight", "followed"), [(0.5, 1.0, True), (3.0, 1.0, False), (3.0, 0.0, True)]
)
def test_a_teacher_is_followed_where_it_is_right_or_nothing_else_is_known(
    off_px, truth_weight, followed
):
    network = create("las1").eval()
    load_weights(network, BUNDLED)
    distil = SelfDistillation(
        network, network, TruthLoss(), seed=1, truth_weight=truth_weight, feature_weight=0.0
    )
    left = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        truth = network.stages(left, left).disparity + off_px
        _, metrics = distil(left, left, truth)
        assert (metrics["follow"] > 0) == followed
        truth[..., :32] = torch.inf
        assert distil(left, left, truth)[1]["follow"] > 0


def test_the_supervised_stage_perturbs_what_it_is_asked_to(tmp_path):
    def losses(**given):
        run = make_run(TrainOptions(output=tmp_path, weights=BUNDLED, **given, **TINY))
        batch = run.source.next()
        seen = (batch.left, batch.right, batch.disparity_px)
        return [float(run.module(*seen)[0].detach()) for _ in range(2)]

    first, second = losses(perturb=True)
    assert first != pytest.approx(second, rel=1e-3)
    assert losses(perturb=True) == [first, second]
    assert np.ptp(losses()) == 0
    with pytest.raises(TrainingError, match="self always perturbs"):
        TrainOptions(output=tmp_path, weights=BUNDLED, stage="self", perturb=True)


# --- refiner


@pytest.fixture
def plain(tmp_path):
    """Return a file of trained weights without a refiner."""
    network = start_network("las1", BUNDLED)
    network.refiner = None
    save_weights(network, tmp_path / "plain.safetensors")
    return tmp_path / "plain.safetensors"


def trained(tmp_path, **given):
    options = TrainOptions(
        output=tmp_path / "run", steps=2, peak_learning_rate=1e-3, **given, **TINY
    )
    run = make_run(options)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.go()
    after = run.network.state_dict()
    return run, {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_a_refiner_alone_learns_and_the_network_stays_as_it_is(tmp_path, plain):
    run, moved = trained(tmp_path, weights=plain, refiner="alone")
    assert "refiner.conv2.weight" in moved
    assert all(name.startswith("refiner.") for name in moved)
    kept = start_network("las1", tmp_path / "run" / "weights.safetensors")
    assert kept.refiner is not None
    start = start_network("las1", plain).state_dict()
    for name, value in kept.state_dict().items():
        if name in start and value.ndim < 2:  # matrices are kept in half precision
            assert torch.equal(value, start[name]), name
    with torch.no_grad():
        left = torch.rand(1, 3, 64, 64) * 255
        stages = run.module._given[0].stages(left, left)
        assert torch.equal(stages.unrefined, stages.disparity)


def test_a_refiner_beside_learns_with_the_network_and_the_teacher_needs_none(tmp_path, plain):
    run, moved = trained(tmp_path, stage="self", weights=plain, refiner="beside")
    assert "refiner.conv2.weight" in moved
    assert any(name.startswith("cost_agg_2d.") for name in moved)
    assert run.module._teacher[0].refiner is None


def test_a_student_follows_its_teacher_before_its_own_refiner(plain):
    teacher, student = (start_network("las1", plain).eval() for _ in range(2))
    student.refiner = Refiner().eval()
    with torch.no_grad():
        student.refiner.conv2.bias.copy_(torch.tensor([-9.0, -9.0, -9.0, 9.0, -9.0]))  # 1 px more
    left = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    unknown = torch.full((1, 1, 64, 64), torch.inf)

    def followed(network, other):
        distil = SelfDistillation(
            network, other, TruthLoss(), seed=1, truth_weight=0.0, feature_weight=0.0
        )
        with torch.no_grad():
            return float(distil(left, left, unknown)[1]["follow"])

    alike = followed(teacher, teacher)
    assert followed(student, teacher) == pytest.approx(alike)
    assert followed(teacher, student) > alike + 0.1  # a teacher's refiner is followed


# --- labels


def test_labels_keep_what_both_views_agree_on():
    left = np.zeros((64, 96, 3), np.uint8)
    label = masked_label(shift_teacher, left, left)
    assert np.isnan(label[:, :4]).all(), "beyond the right picture"
    assert np.nanmax(np.abs(label[50:, 8:] - 4)) == 0
    share = np.isfinite(label[22:38, 32:48]).mean()
    assert share < 1, "an occluder that the other view does not have at its place"


def test_consistency_is_of_one_pixel():
    disparity = np.full((2, 20), 5.0, np.float32)
    assert consistent(disparity, disparity + 0.9)[:, 5:].all()
    assert not consistent(disparity, disparity + 1.1).any()
    assert not consistent(disparity, disparity)[:, :5].any()
    assert not consistent(np.full((2, 20), np.nan, np.float32), disparity).any()


def test_edges_are_steps_not_slopes():
    ramp = np.linspace(0, 20, 100, dtype=np.float32)[None].repeat(10, 0)
    assert not near_edge(ramp).any()
    step = ramp + 30 * (np.arange(100) > 50)
    assert near_edge(step)[:, 50].all()
    assert not near_edge(step)[:, :48].any()


def test_labels_are_made_once_and_belong_to_pictures_and_teacher(tmp_path, bare):
    scenes, calls = find_training_pairs(bare), []
    assert [scene.truth for scene in scenes] == [None] * PAIRS

    def teacher(left, right):
        calls.append(1)
        return shift_teacher(left, right)

    def label(sha256):
        return label_pairs(teacher, scenes, sha256=sha256, folder=tmp_path / "labels")

    first = label("a")
    assert len(calls) == 2 * PAIRS
    assert label("a") == first
    assert len(calls) == 2 * PAIRS
    label("b")
    assert len(calls) == 4 * PAIRS
    cv2.imwrite(str(scenes[0].left), np.zeros((64, 96, 3), np.uint8))
    label("a")
    assert len(calls) == 4 * PAIRS + 2
    disparity = first[1].load_truth().disparity_px
    assert np.nanmedian(disparity) == 4.0


# --- teachers


def write_foreign(path, *, names=("left", "right"), size=("h", "w"), kind=1, batch=1, channels=1):
    """Write a network that answers the mean of its left picture over channels."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    inputs = [helper.make_tensor_value_info(n, kind, [batch, 3, *size]) for n in names]
    left = next((n for n in names if "left" in n), names[0])
    right = next(n for n in names if n != left)
    nodes = [
        helper.make_node("ReduceMean", [left], ["mean"], axes=[1], keepdims=1),
        helper.make_node("ReduceMean", [right], ["other"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["mean", "other"], ["one"]),
        helper.make_node("Concat", ["one"] * channels, ["disp"], axis=1),
    ]
    output = helper.make_tensor_value_info("disp", kind, [batch, channels, *size])
    graph = helper.make_graph(nodes, "foreign", inputs, [output])
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("names", [("left", "right"), ("image_right", "image_left"), ("a", "b")])
def test_a_foreign_model_gets_left_and_right_as_it_names_them(tmp_path, names):
    path = write_foreign(tmp_path / "foreign.onnx", names=names)
    left, right = np.full((50, 70, 3), 90, np.uint8), np.full((50, 70, 3), 60, np.uint8)
    with open_teacher(str(path)) as (teacher, sha256):
        disparity = teacher(left, right)
    assert disparity.shape == (50, 70)
    assert np.allclose(disparity, 30)
    assert len(sha256) == 64


def test_a_foreign_model_of_fixed_size_answers_in_the_pictures_pixels(tmp_path):
    path = write_foreign(tmp_path / "foreign.onnx", size=(32, 32))
    left, right = np.full((64, 128, 3), 90, np.uint8), np.full((64, 128, 3), 60, np.uint8)
    assert np.allclose(ForeignTeacher(path)(left, right), 30 * 4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": (50, "w")}, r"does not run on pictures of 64x96: .*; a teacher takes"),
        ({"channels": 2}, r"answers \(1, 2, 64, 96\) to pictures of 64x96; need a disparity"),
    ],
)
def test_a_foreign_model_of_another_form_is_told_what_a_teacher_answers(tmp_path, given, message):
    path = write_foreign(tmp_path / "foreign.onnx", **given)
    picture = np.zeros((64, 96, 3), np.uint8)
    with (
        open_teacher(str(path)) as (teacher, _),
        pytest.raises(TrainingError, match=r"foreign\.onnx " + message),
    ):
        teacher(picture, picture)


def test_a_foreign_model_is_opened_once(tmp_path, monkeypatch):
    import onnxruntime

    opened, session = [], onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *a, **k: opened.append(1) or session(*a, **k)
    )
    with open_teacher(str(write_foreign(tmp_path / "foreign.onnx"))):
        assert len(opened) == 1


def test_what_is_no_stereo_model_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="two float tensors"):
        ForeignTeacher(write_foreign(tmp_path / "f.onnx", kind=6))
    with pytest.raises(TrainingError, match="two float tensors"):
        ForeignTeacher(write_foreign(tmp_path / "f.onnx", batch=2))
    with pytest.raises(LiteStereoError, match=r"none\.onnx"), open_teacher("none.onnx"):
        pass
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="no ONNX model"), open_teacher(str(broken)):
        pass


def test_own_artefacts_and_networks_teach_alike():
    left = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    right = np.roll(left, -3, 1)
    answers = []
    for text in ("las1", f"las1={BUNDLED}"):
        with open_teacher(text) as (teacher, _):
            answers.append(teacher(left, right))
    assert np.abs(answers[0] - answers[1]).max() < 0.05


def test_another_network_of_ours_teaches_from_its_artefact():
    left = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    with StereoEngine.load("las2_m") as engine:
        expected = engine(left, left).disparity_px
    with open_teacher("las2_m") as (teacher, _):
        assert np.array_equal(teacher(left, left), expected)


# --- pairs


def test_crops_move_truth_with_the_pictures(known):
    scenes = find_training_pairs(known)
    assert all(scene.truth for scene in scenes)

    def stream(seed):
        return PairStream(
            scenes,
            batch=3,
            size=(64, 64),
            seed=seed,
            device=torch.device("cpu"),
            perturbed=False,
        )

    batch = stream(1).next()
    assert batch.left.shape == (3, 3, 64, 64)
    assert batch.disparity_px.shape == (3, 1, 64, 64)
    assert torch.equal(batch.left, stream(1).next().left)
    assert not torch.equal(batch.left, stream(2).next().left)
    known_px = batch.disparity_px[torch.isfinite(batch.disparity_px)]
    assert known_px.max() <= 24 * 1.6
    # Warped by the moved truth, the right crop is still the left one.
    column = torch.arange(64.0) - torch.where(batch.visible, batch.disparity_px, 1e3)
    inside = (column >= 0).squeeze(1)
    column = column.clamp(0, 63).expand(-1, 3, -1, -1)
    before, after = (batch.right.gather(3, c.long()) for c in (column.floor(), column.ceil()))
    warped = torch.lerp(before, after, column.frac())
    # Exposure and colour may differ between the eyes: likeness is correlation, pair by pair. How
    # much the warp adds to it depends on how noisy and how coarse the pictures are.
    added = []
    for moved, right, left, where in zip(warped, batch.right, batch.left, inside, strict=True):
        likeness = torch.corrcoef(
            torch.stack([one[:, where].ravel() for one in (moved, right, left)])
        )
        added.append(float(likeness[0, 2] - likeness[1, 2]))
    assert min(added) > 0
    assert np.mean(added) > 0.2


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="holds no stereo pairs"):
        find_training_pairs(tmp_path)
    with pytest.raises(TrainingError, match=r"there is no folder .*nosuch"):
        find_training_pairs(tmp_path / "nosuch")
    with pytest.raises(TrainingError, match=r"there is no folder .*nosuch"):
        load_atlas(tmp_path / "nosuch", device="cpu")


# --- fine-tuning


def test_fine_tuning_with_truth_says_what_it_gained(tmp_path, known, capsys):
    """From weights that know nothing, a dozen steps are a gain, and are kept."""
    torch.manual_seed(0)
    raw = tmp_path / "raw.safetensors"
    save_weights(start_network("las1", None), raw)
    arguments = ["-o", str(tmp_path / "run"), "--fine-tune", str(known), "--steps", "12"]
    arguments += ["--batch", "2", "--height", "64", "--width", "96", "--learning-rate", "2e-3"]
    arguments += ["--weights", str(raw)]
    with pytest.raises(SystemExit) as left:
        train_main(arguments)
    assert not left.value.code
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["method"] == "ground truth"
    assert result["held_out"] == ["rig/scene4"]
    assert result["trained_on"] == 4
    assert {"epe", "bad_2", "d1"} == set(result["before"]) == set(result["after"])
    assert result["kept"] == "adapted"
    assert result["after"]["epe"] < 0.9 * result["before"]["epe"]
    assert "stereo-export --model las1 --weights" in said.err
    load_weights(create("las1"), tmp_path / "run" / "weights.safetensors")


def test_fine_tuning_keeps_the_old_weights_when_it_made_them_worse(tmp_path, known):
    options = TrainOptions(
        output=tmp_path, steps=3, peak_learning_rate=0.5, warm_up=0.01, **{**TINY, "batch": 2}
    )
    result = fine_tune(options, known)
    assert result.kept == "old"
    assert result.after["epe"] > result.before["epe"]
    kept, old = create("las1"), create("las1")
    load_weights(kept, result.weights)
    load_weights(old, BUNDLED)
    for name, value in old.state_dict().items():
        if "num_batches" not in name:
            assert torch.allclose(kept.state_dict()[name], value, atol=1e-3), name


def test_fine_tuning_without_truth_distils(tmp_path, bare):
    result = fine_tune(TrainOptions(output=tmp_path / "run", steps=1, **TINY), bare)
    assert result.method == "self-distillation"
    assert set(result.before) == {"consistent", "photometric", "from_old_px"}
    assert result.before["from_old_px"] == 0
    assert result.after["from_old_px"] > 0


def test_fine_tuning_chooses_its_stage_and_needs_truth_for_weights_on_it(tmp_path, bare, capsys):
    given = ["-o", str(tmp_path / "run"), "--fine-tune", str(bare)]
    for other in (["--stage", "self"], ["--perturb"]):
        assert train_main([*given, *other]) == 1
        told = " ".join(capsys.readouterr().err.split())
        assert "leave --stage, --pairs, --teacher and --perturb out" in told
    asked = {"--edge-weight": "3", "--distribution-weight": "3", "--refiner": "alone"}
    for name, value in asked.items():
        assert train_main([*given, name, value]) == 1
        assert f"{name} needs known disparities, and not all pairs" in capsys.readouterr().err
    assert train_main([*given, "--profile"]) == 1
    assert "--profile is of scenes" in capsys.readouterr().err
    assert train_main([*given, "--model", "las2_s"]) == 1
    assert "give its checkpoint with --weights FILE" in capsys.readouterr().err
    assert not (tmp_path / "run" / "state.pt").exists()


@pytest.mark.parametrize("truth", [False, True])
def test_a_judge_that_cannot_be_read_is_found_before_training(
    tmp_path, rendered, monkeypatch, truth
):
    folder = write_pairs(tmp_path / "pairs", rendered, truth=truth)
    right = folder / "scene4" / "right.png"
    right.write_bytes(right.read_bytes()[:60])
    for make in ("make_truth_run", "make_self_run"):
        monkeypatch.setattr(f"litestereo.training.fine_tune.{make}", None)
    with pytest.raises(LiteStereoError, match=r"scene4/right\.png"):
        fine_tune(TrainOptions(output=tmp_path / "run", **TINY), folder)


def test_equal_seeds_give_a_new_refiner_equal_weights(tmp_path, known, plain):
    options = TrainOptions(output=tmp_path, weights=plain, refiner="beside", **TINY)
    scenes = find_training_pairs(known)
    first, second = (
        make_truth_run(options, scenes, group=Group()).network.refiner.conv0.weight
        for _ in range(2)
    )
    assert torch.equal(first, second)


def test_a_bundled_name_is_taken_as_start_and_teacher(tmp_path, bare, monkeypatch):
    seen = []
    monkeypatch.setattr("litestereo.commands.train._trained", lambda *given: seen.append(given[0]))
    given = ["-o", str(tmp_path), "--weights", "las1", "--teacher", "las1", "--stage", "self"]
    with pytest.raises(SystemExit):
        train_main(given)
    assert (seen[0].weights, seen[0].teacher) == (BUNDLED, str(BUNDLED))


def test_the_distribution_counts_where_scenes_tell_it_if_nothing_is_said(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("litestereo.commands.train._trained", lambda *given: seen.append(given[0]))
    selfish = ["--stage", "self", "--weights", "las1"]
    real = ["--stage", "real", "--teacher", "las1", "--pairs", str(tmp_path)]
    for given in (
        *([], ["--distribution-weight", "0"], selfish, [*selfish, "--pairs", str(tmp_path)]),
        *([*selfish, "--truth-weight", "0"], real, ["--fine-tune", str(tmp_path)]),
    ):
        with pytest.raises(SystemExit):
            train_main(["-o", str(tmp_path), *given])
    assert [options.distribution_weight for options in seen] == [0.3, 0, 0.3, 0, 0, 0, 0]


def test_to_fine_tune_other_values_are_usual(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("litestereo.commands.train._trained", lambda *given: seen.append(given[0]))
    other = ["--fine-tune", str(tmp_path), "--refiner", "alone"]  # of the bundled weights
    for given in ([], other, [*other, "--robust", "3", "--optimizer", "muon"]):
        with pytest.raises(SystemExit):
            train_main(["-o", str(tmp_path), *given])
    told = [(run.optimizer, run.robust_px, run.batch, run.size) for run in seen]
    assert told == [
        ("muon", 1.0, 32, (256, 512)),
        ("adamw", 0.0, 8, (320, 640)),
        ("muon", 3.0, 8, (320, 640)),
    ]
    assert [run.weights for run in seen] == [None, BUNDLED, BUNDLED]


def test_agreement_alone_is_no_gain():
    """A flat answer agrees with itself everywhere; the photometric error tells."""
    old = {"consistent": 80.0, "photometric": 5.0}
    assert agrees_better(old, {"consistent": 82.0, "photometric": 4.9})
    assert not agrees_better(old, {"consistent": 100.0, "photometric": 9.0})
    assert not agrees_better(old, {"consistent": 79.0, "photometric": 4.0})


# --- validation


def test_validation_scores_as_stereo_eval_and_keeps_the_best(tmp_path, known):
    from litestereo.benchmarks.evaluate import evaluate_torch_model

    options = TrainOptions(
        output=tmp_path / "run", steps=2, validate=(known,), validate_minutes=0.0, **TINY
    )
    train(options)
    lines = [json.loads(x) for x in (options.output / "log.jsonl").read_text().splitlines()]
    figures = [line["validation"] for line in lines if "validation" in line]
    assert len(figures) >= 2
    record = json.loads((options.output / "record.json").read_text())
    assert record["came"] == figures[-1]
    assert record["best_figure"] == min(f["figure"] for f in figures)
    network = create("las1")
    load_weights(network, options.output / "weights.safetensors")
    report = evaluate_torch_model(network, known)
    assert report.group("rig").metric("epe") == pytest.approx(figures[-1]["rig_epe"], rel=0.02)
    load_weights(network, options.output / "best.safetensors")


# --- all stages over processes


TRAIN_THREE = """
import sys
from pathlib import Path
from litestereo.training.group import joined_group
from litestereo.training.options import TrainOptions
from litestereo.training.stages import make_run
with joined_group() as group:
    output, known, bare, weights = map(Path, sys.argv[1:])
    common = dict(batch=1, height=64, width=64, compile_renderer=False, texture_size=64, steps=2)
    own = {
        "supervised": dict(validate=(known,)),
        "self": dict(weights=weights),
        "real": dict(pairs=bare, teacher="las1", weights=weights),
    }
    for stage, more in own.items():
        options = TrainOptions(output=output / stage, stage=stage, **common, **more)
        make_run(options, group=group).go()
"""


def test_two_processes_train_together_in_each_stage(tmp_path, bare, known):
    """One torchrun for all three: most of its time are imports."""
    script = tmp_path / "train.py"
    script.write_text(TRAIN_THREE)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ran = subprocess.run(
        [*command, "--nproc-per-node", "2", script, tmp_path, known, bare, BUNDLED],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    for stage in ("supervised", "self", "real"):
        record = json.loads((tmp_path / stage / "record.json").read_text())
        assert record["device"].startswith("2 x")
        assert record["pairs"] == 4
        if stage == "supervised":
            assert record["came"]["figure"] > 0
    assert len(list((tmp_path / "real" / "labels").glob("*.npz"))) == PAIRS


def test_a_killed_labelling_keeps_its_labels(tmp_path, bare):
    """What was labelled before a kill is read, not made again."""
    scenes = find_training_pairs(bare)

    class Killed(BaseException):
        pass

    def dies(left, right, *, answers=[0]):  # noqa: B006 - counts over calls
        answers[0] += 1
        if answers[0] > 5:
            raise Killed
        return shift_teacher(left, right)

    with pytest.raises(Killed):
        label_pairs(dies, scenes, sha256="x", folder=tmp_path / "labels")
    made = sorted((tmp_path / "labels").glob("*.npz"))
    assert len(made) == 2
    times = [path.stat().st_mtime_ns for path in made]
    label_pairs(shift_teacher, scenes, sha256="x", folder=tmp_path / "labels")
    assert [path.stat().st_mtime_ns for path in made] == times
    assert DisparityFile(made[0], key="disparity_px").read().shape == (64, 96)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": "other"}, "other"),
        ({"stage": "self"}, "no teacher"),
        ({"stage": "real"}, "--pairs"),
        ({"teacher": "las1"}, "takes no teacher"),
        ({"refiner": "none"}, "'none' is unknown; choose one of beside, alone"),
        ({"refiner": "alone", "stage": "self"}, "--stage supervised"),
        ({"refiner": "alone", "perturb": True}, "without --perturb"),
        ({"refiner": "alone"}, "needs a trained network"),
        (
            {"refiner": "beside", "stage": "self", "teacher": "las1", "truth_weight": 0.0},
            "--refiner needs known disparities",
        ),
        ({"seed": -1}, "seed -1 must be 0 to 4294967295"),
        ({"seed": 2**64}, "must be 0 to 4294967295"),
    ],
)
def test_stages_say_what_they_need(tmp_path, change, message):
    with pytest.raises(TrainingError, match=message):
        replace(TrainOptions(output=tmp_path, **TINY), **change)


def test_a_rank_without_torchrun_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    message = "RANK is set, but not .*WORLD_SIZE.*; start with torchrun, or unset RANK"
    with pytest.raises(TrainingError, match=message), joined_group():
        pass


def test_a_group_of_one_agrees_with_itself():
    assert Group().agree(1.0, 2.0) == (1.0, 2.0)
    assert Group().gather([1, 2]) == [1, 2]
