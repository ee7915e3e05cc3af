"""Rendered scenes: exact geometry, honest occlusion, reproducible, and as varied as promised."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from litestereo.errors import InputError, TrainingError
from litestereo.training.scenes.camera import _film, blank_borders, expose, sharpen
from litestereo.training.scenes.layout import _sample_frame, sample_scenes
from litestereo.training.scenes.random import Draw
from litestereo.training.scenes.render import render
from litestereo.training.scenes.scene import ELLIPSOIDS
from litestereo.training.scenes.stream import SceneStream
from litestereo.training.scenes.textures import load_atlas

SIZE = (64, 128)
BOUND_PX = 190.0


@pytest.fixture(scope="module")
def atlas():
    return load_atlas(None, device="cpu", size=64)


def scenes(atlas, *, batch=4, seed=0):
    return sample_scenes(
        Draw("cpu", seed=seed), atlas, batch=batch, size=SIZE, max_disparity_px=BOUND_PX
    )


def matte(scene):
    """Remove what depends on the view or is infinitely fine, so that both eyes see one colour."""
    scene.gloss.zero_()
    scene.misalignment.zero_()
    scene.uv[..., 0] *= 0.05
    scene.pane[:, 1] = 0
    return scene


def rendered(scene, atlas):
    return render(scene, atlas, size=SIZE, max_disparity_px=BOUND_PX)


def test_right_picture_warped_by_the_disparity_is_the_left_one(atlas):
    seen = rendered(matte(scenes(atlas, batch=6)), atlas)
    column = torch.arange(SIZE[1]) - seen.disparity_px
    low = column.floor().long().clamp(0, SIZE[1] - 2).expand_as(seen.left)
    weight = (column - low[:, :1]).clamp(0, 1)
    warped = seen.right.gather(3, low) * (1 - weight) + seen.right.gather(3, low + 1) * weight
    error = (warped - seen.left).abs().mean(1, keepdim=True)[seen.visible]
    assert error.median() < 0.005
    assert (error < 0.05).float().mean() > 0.93  # the rest are pixels at edges


def test_a_frontal_plane_has_one_disparity(atlas):
    scene = matte(scenes(atlas, batch=1))
    scene.centre[:] = torch.tensor([0.0, 0.0, -1e5])
    scene.centre[:, 0] = torch.tensor([0.0, 0.0, 20.0])
    scene.extent[:, 0] = 1e3
    scene.axes[:, 0] = torch.eye(3) / 1e3
    scene.waves[:, 0] = 0
    seen = rendered(scene, atlas)
    assert torch.allclose(seen.disparity_px, scene.focal_px / 20.0, rtol=1e-5)


def test_a_sphere_has_the_disparity_of_its_nearest_point(atlas):
    scene = matte(scenes(atlas, batch=1))
    scene.centre[:] = torch.tensor([0.0, 0.0, -1e5])
    ball = ELLIPSOIDS.start
    scene.centre[:, ball] = torch.tensor([0.0, 0.0, 30.0])
    scene.axes[:, ball] = torch.eye(3) / 4.0
    scene.extent[:, ball] = 4.0
    scene.principal[:] = torch.tensor([64.0, 32.0])
    seen = rendered(scene, atlas)
    assert seen.disparity_px[0, 0, 32, 64] == pytest.approx(float(scene.focal_px[0]) / 26.0, 1e-4)
    assert seen.disparity_px.max() <= scene.focal_px[0] / 26.0 + 1e-3


def test_relief_is_solved_exactly(atlas):
    scene = matte(scenes(atlas, batch=8, seed=5))
    rays_seen = rendered(scene, atlas)
    again = rendered(scene, atlas)
    assert torch.equal(rays_seen.disparity_px, again.disparity_px)
    assert rays_seen.disparity_px.max() <= BOUND_PX
    assert rays_seen.disparity_px.min() >= 0


def test_visible_agrees_with_the_right_views_own_geometry(atlas):
    """A pixel hidden from the right eye has something nearer, or the picture's end, in its way."""
    seen = rendered(matte(scenes(atlas, batch=16, seed=3)), atlas)
    column = torch.arange(SIZE[1]) - seen.disparity_px
    assert not seen.visible[column < 0].any()
    share = seen.visible.float().mean()
    assert 0.3 < share < 0.999


def test_every_kind_of_scene_and_primitive_is_seen(atlas):
    scene = scenes(atlas, batch=32, seed=11)
    seen = rendered(scene, atlas)
    assert (seen.disparity_px == 0).any(), "no sky in 32 scenes"
    median = seen.disparity_px.flatten(1).median(1).values
    assert median.min() < 15
    assert median.max() > 40


def test_equal_seeds_give_equal_batches_and_others_do_not(atlas):
    def first(seed):
        return SceneStream(atlas, batch=2, size=SIZE, seed=seed).next()

    assert torch.equal(first(1).left, first(1).left)
    assert not torch.equal(first(1).left, first(2).left)


@pytest.mark.gpu
def test_replayed_scenes_are_the_launched_ones(atlas):
    there = replace(atlas, texels=atlas.texels.cuda(), outlines=atlas.outlines.cuda())
    streams = [SceneStream(there, batch=2, size=SIZE, seed=6, recorded=r) for r in (True, False)]
    replayed, launched = ([stream.next() for _ in range(6)] for stream in streams)
    for k in range(3):  # three went into warming up, and recording draws nothing
        assert torch.equal(replayed[k].disparity_px, launched[k + 3].disparity_px)
        assert (replayed[k].left - launched[k + 3].left).abs().mean() < 0.01
    assert len({float(batch.left.sum()) for batch in replayed}) == 6


def test_choices_come_as_often_as_they_weigh():
    draw = Draw("cpu", seed=1)
    picked = draw.choice([0.5, 0.0, 1.5], 20_000)
    shares = torch.bincount(picked, minlength=3) / picked.numel()
    assert torch.allclose(shares, torch.tensor([0.25, 0.0, 0.75]), atol=0.02)
    assert draw.choice([2.0], 3).tolist() == [0, 0, 0]
    assert draw.constant(1.0, 2.0) is draw.constant(1.0, 2.0)


def test_a_response_bends_without_a_step():
    bright = torch.linspace(-1, 3, 40_001)
    seen = _film(bright)
    slope = seen.diff() / bright.diff()
    assert slope.min() >= 0
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert slope.diff().abs().max() < 0.01
    middle = (bright > 0.06) & (bright < 0.75)
    assert torch.equal(seen[middle], bright[middle])


def test_half_of_all_things_are_of_one_hue(atlas):
    scene = scenes(atlas, batch=64, seed=2)
    chroma, scale = scene.paint[..., 5], scene.paint[..., 6]
    assert 0.4 < float((chroma < 1).float().mean()) < 0.6
    assert 0.4 < float((scale > 0.5).float().mean()) < 0.6
    grey, as_it_is = replace(scene), replace(scene)
    grey.paint, as_it_is.paint = scene.paint.clone(), scene.paint.clone()
    grey.paint[..., 5], as_it_is.paint[..., 5] = 0.0, 1.0
    colourful = [rendered(s, atlas).left.std(1).mean() for s in (grey, as_it_is)]
    assert colourful[0] < colourful[1]


def test_pictures_are_whole_numbers_in_range(atlas):
    batch = SceneStream(atlas, batch=2, size=SIZE, seed=4, samples=2).next()
    for picture in (batch.left, batch.right):
        assert picture.shape == (2, 3, *SIZE)
        assert torch.equal(picture, picture.round())
        assert picture.min() >= 0
        assert picture.max() <= 255
        assert picture.std() > 5


def test_photos_gain_fine_detail_and_keep_their_colours(tmp_path):
    def finest_octave(picture):
        return float((picture - cv2.GaussianBlur(picture, (0, 0), 1)).std())

    rng = np.random.default_rng(0)
    photos = [rng.integers(100, 140, (128, 128, 3), np.uint8) for _ in range(12)]
    for number, photo in enumerate(photos):
        cv2.imwrite(str(tmp_path / f"{number:02d}.png"), photo)
    atlas = load_atlas(tmp_path, device="cpu", size=128)
    packed = atlas.texels[: 12 * atlas.pyramid].view(12, -1)[:, : 128 * 128].numpy()
    gains = []
    for photo, texels in zip(photos, packed, strict=True):
        texture = np.stack([texels >> shift & 255 for shift in (16, 8, 0)], -1)
        texture = texture.reshape(photo.shape).astype(np.float32)
        gains.append(finest_octave(texture) / finest_octave(photo.astype(np.float32)))
        assert abs(texture.mean() - photo.mean()) < 1.5
    assert min(gains) > 0.98
    assert max(gains) > 1.5
    assert np.ptp(gains) > 0.3, "photos differ"


def test_flat_scenes_gain_contrast():
    grey = torch.linspace(-1, 1, SIZE[1]).expand(64, 3, *SIZE)

    left, _ = expose(Draw("cpu", seed=3), 0.5 + 0.2 * grey, 0.5 + 0.2 * grey)
    spread = (left.mean(1).std((1, 2)) / left.mean((1, 2, 3))).median()
    assert spread > 1.3 * (0.2 / 3**0.5) / 0.5  # of the scene itself: a line's deviation and mean


def test_sharpening_raises_edges_and_leaves_flat_places_alone():
    pair = torch.full((32, 2, 3, *SIZE), 0.4)
    pair[..., SIZE[1] // 2 :] = 0.6
    seen = sharpen(Draw("cpu", seed=1), pair)
    assert torch.allclose(seen[..., :8], pair[..., :8], atol=1e-6)
    step = (seen[..., SIZE[1] // 2] - seen[..., SIZE[1] // 2 - 1])[:, 0, 0, 0]
    assert ((step > 0.2 + 1e-4).float().mean() - 0.6).abs() < 0.25
    assert torch.equal(seen[:, 0], seen[:, 1])  # both eyes are of one make


def test_a_pane_adds_colour_and_no_disparity(atlas):
    scene = matte(scenes(atlas, batch=6, seed=3))
    clear = rendered(scene, atlas)
    scene.pane[:, 1] = 0.3
    seen = rendered(scene, atlas)
    assert torch.equal(seen.disparity_px, clear.disparity_px)
    changed = (seen.left - clear.left).abs().amax(1, keepdim=True) > 1e-3
    assert 0.05 < changed.float().mean() < 0.95
    # It hangs in space: where the right eye sees it, it is moved by its own disparity.
    shift = scene.focal_px / scene.pane[:, 0]
    edges = []
    for picture, bare in ((seen.left, clear.left), (seen.right, clear.right)):
        columns = ((picture - bare).abs().amax((1, 2)) > 1e-3).float()
        edges.append(columns.argmax(1))
    moved = (edges[0] - edges[1]).float()
    inside = (edges[0] > 0) & (edges[1] > 0)
    assert inside.any()
    assert ((moved - shift).abs()[inside] < 3).any()


def test_patches_are_stacked_in_front_of_each_other(atlas):
    scene = scenes(atlas, batch=32, seed=2)
    layers = scene.centre[:, 12:24].view(32, 3, 4, 3)
    axes = scene.axes[:, 12:24].view(32, 3, 4, 3, 3)
    stacked = (axes == axes[:, :, :1]).flatten(2).all(2) & (layers[:, :, 0, 2] > 0)
    assert 5 < stacked.sum() < 60
    steps = layers[stacked].diff(dim=1)
    assert torch.allclose(steps[:, 0], steps[:, 1], rtol=1e-2, atol=1e-3)
    outline = scene.outline[:, 12:24].view(32, 3, 4)[stacked]
    alike = (outline == outline[:, :1]).all(1)
    assert 0 < alike.sum() < len(alike)


def test_camera_effects_keep_a_clean_picture_recognisable():
    grey = torch.linspace(0, 1, SIZE[1]).expand(8, 3, *SIZE)
    left, right = expose(Draw("cpu", seed=2), grey, grey)
    for picture in (left, right):
        correlation = np.corrcoef(picture.mean((0, 1, 2)).numpy(), np.linspace(0, 1, SIZE[1]))
        assert correlation[0, 1] > 0.98


def test_borders_of_a_tenth_of_the_rigs_are_black_and_differ_by_eye():
    white = torch.full((500, 2, 3, *SIZE), 255.0)
    black = blank_borders(Draw("cpu", seed=3), white)[:, :, 0] == 0
    some = black.flatten(1).any(1)
    assert some.float().mean() == pytest.approx(0.1, abs=0.04)
    assert (black[some, 0] != black[some, 1]).flatten(1).any(1).float().mean() > 0.9
    assert 0.01 < black[some].float().mean() < 0.08
    height, width = SIZE
    inside = black[..., height // 8 : -height // 8, width // 8 : -width // 8]
    assert not inside.any()


def test_size_must_be_in_multiples_of_32(atlas):
    with pytest.raises(InputError, match="60x128"):
        SceneStream(atlas, batch=1, size=(60, 128), seed=0)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="no readable"):
        load_atlas(tmp_path, device="cpu", size=64)


def test_atlas_sampling_is_bilinear_and_repeats(atlas):
    zero = torch.zeros(3, dtype=torch.int64)
    u = torch.tensor([10.5, 11.0, 10.5 + 64])
    v = torch.full((3,), 20.5)
    texel, between, wrapped = atlas.sample(zero, u, v, torch.zeros(3)).unbind(-1)
    following = atlas.sample(zero[:1], u[:1] + 1, v[:1], torch.zeros(1))[:, 0]
    assert torch.allclose(between, (texel + following) / 2, atol=1e-6)
    assert torch.equal(texel, wrapped)


def test_mip_levels_keep_the_mean(atlas):
    index = torch.zeros(1, dtype=torch.int64)
    corner = torch.zeros(1)
    grid = torch.arange(64.0) + 0.5
    u, v = torch.meshgrid(grid, grid, indexing="xy")
    full = atlas.sample(index.expand(64, 64), u, v, torch.zeros(64, 64)).mean((1, 2))
    coarse = atlas.sample(index.expand(64, 64), u, v, torch.full((64, 64), 9.0)).mean((1, 2))
    assert math.isclose(float((full - coarse).abs().max()), 0, abs_tol=0.02)
    assert corner.shape == (1,)


@pytest.mark.parametrize(("width", "bound_px"), [(512, 190.0), (1024, 190.0), (96, 24.0)])
def test_most_things_are_as_near_as_in_real_pairs_of_that_width(width, bound_px):
    frame = _sample_frame(Draw("cpu", seed=1), 4000, (64, width), bound_px)
    shares = frame.nearest_px * 512 / width
    usual = min(60.0, bound_px / 2 * 512 / width)
    assert (shares <= usual + 1e-3).float().mean() == pytest.approx(0.95, abs=0.02)
    assert frame.nearest_px.max() <= bound_px + 1e-3
    low, high = torch.quantile(frame.nearest_px, torch.tensor([0.05, 0.95])).tolist()
    assert high > 3 * low
