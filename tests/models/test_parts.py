"""Single parts against short naive versions of the same definition."""

import pytest
import torch
from torch.nn import functional as F

from litestereo.models.convnext import ConvNeXtBlock
from litestereo.models.cost_volume import (
    _BatchNorm3d,
    _Conv3d,
    all_pairs_volume,
    correlation_volume,
    grouped_correlation_volume,
    mean_over_groups,
)
from litestereo.models.layers import InstanceNorm
from litestereo.models.pyramid import _ReplicatingConv2d
from litestereo.models.recurrent import LookupPyramid
from litestereo.models.refinement import (
    confidence_from_distribution,
    convex_upsample,
    distribution_from_cost,
    expected_disparity,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def naive_volume(left, right, levels):
    batch, _, height, width = left.shape
    volume = torch.zeros(batch, levels, height, width)
    for d in range(levels):
        for x in range(d, width):
            volume[:, d, :, x] = (left[:, :, :, x] * right[:, :, :, x - d]).mean(dim=1)
    return volume


@pytest.mark.parametrize(("width", "levels"), [(8, 48), (64, 48), (20, 5)])
def test_correlation_volume_is_the_mean_product_at_each_shift(width, levels):
    left, right = torch.randn(2, 2, 6, 3, width)
    got = correlation_volume(left, right, levels=levels)
    torch.testing.assert_close(got, naive_volume(left, right, levels))


def test_grouped_volume_is_the_volume_of_each_group_and_averages_to_the_whole():
    left, right = torch.randn(2, 2, 40, 3, 16)
    grouped = grouped_correlation_volume(left, right, groups=8)
    for sample in range(2):
        for group in range(8):
            part = slice(5 * group, 5 * group + 5)
            naive = naive_volume(
                left[sample : sample + 1, part], right[sample : sample + 1, part], 48
            )
            torch.testing.assert_close(grouped[8 * sample + group], naive[0])
    torch.testing.assert_close(mean_over_groups(grouped, groups=8), naive_volume(left, right, 48))


def test_volumes_never_have_five_dimensions(monkeypatch):
    from torch.utils._python_dispatch import TorchDispatchMode

    most = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal most
            out = func(*args, **(kwargs or {}))
            most = max(most, out.ndim if isinstance(out, torch.Tensor) else 0)
            return out

    left, right = torch.randn(2, 1, 40, 4, 16)
    with Watch():
        mean_over_groups(grouped_correlation_volume(left, right, groups=8), groups=8)
        correlation_volume(left, right)
    assert most == 4


def naive_sample(values, position):
    """Linear interpolation in a list, zero outside."""
    low = int(position // 1)
    near = values[low] if 0 <= low < len(values) else 0.0
    far = values[low + 1] if 0 <= low + 1 < len(values) else 0.0
    return near + (position - low) * (far - near)


def test_lookup_reads_both_volumes_around_the_disparity():
    groups, height, width = 2, 2, 8
    left, right = torch.randn(2, 1, 10, height, width)
    grouped = grouped_correlation_volume(left, right, groups=groups)
    pairs = all_pairs_volume(left, right)
    # Inside, at both ends, and far outside: corrections may drive a disparity anywhere.
    disparity = torch.tensor([0.0, 0.25, 3.5, 7.75, 46.9, 60.0, -7.3, 5000.0]).repeat(height, 1)
    got = LookupPyramid(grouped, pairs, groups=groups).read(disparity[None, None])
    assert got.shape == (1, 2 * (groups + 1) * 9, height, width)
    for y in range(height):
        for x in range(width):
            expected = []
            for level in range(2):
                size = 2**level
                at = float(disparity[y, x]) / size
                for group in range(groups):
                    line = grouped[group, :, y, x].view(-1, size).mean(dim=1).tolist()
                    expected += [naive_sample(line, at + k) for k in range(-4, 5)]
                line = pairs[0, :, y, x].view(-1, size).mean(dim=1).tolist()
                expected += [naive_sample(line, x / size - at + k) for k in range(-4, 5)]
            torch.testing.assert_close(
                got[0, :, y, x], torch.tensor(expected), rtol=1e-4, atol=1e-5
            )


def test_convex_upsample_weighs_the_neighbours_of_a_zero_padded_map():
    coarse, logits = torch.rand(1, 1, 3, 4) * 40, torch.randn(1, 9, 12, 16)
    got = convex_upsample(coarse, logits)
    padded = F.pad(coarse[0, 0] * 4, (1, 1, 1, 1))
    for y in range(12):
        for x in range(16):
            window = padded[y // 4 : y // 4 + 3, x // 4 : x // 4 + 3].reshape(9)
            expected = (torch.softmax(logits[0, :, y, x], 0) * window).sum()
            torch.testing.assert_close(got[0, 0, y, x], expected)


def test_expected_disparity_of_a_sharp_score_is_its_level():
    cost = torch.zeros(1, 48, 2, 2)
    cost[:, 17] = 100.0
    probability = distribution_from_cost(cost)
    torch.testing.assert_close(expected_disparity(probability), torch.full((1, 1, 2, 2), 17.0))


def test_confidence_follows_its_definition():
    probability = torch.softmax(torch.randn(1, 48, 1, 1), dim=1)
    disparity = torch.full((1, 1, 1, 1), 20.3)
    moment = sum(float(probability[0, k]) * (k - 20.3) ** 2 for k in range(48))
    got = confidence_from_distribution(probability, disparity)
    assert got.shape == (1, 1, 4, 4)
    torch.testing.assert_close(got, torch.full((1, 1, 4, 4), 1 / (1 + moment**0.5)))


def test_confidence_falls_as_mass_moves_away():
    levels = torch.arange(48.0).view(1, 48, 1, 1)
    values = []
    for width in (0.05, 0.5, 2.0, 8.0):
        probability = torch.softmax(-((levels - 20) ** 2) / (2 * width**2), dim=1)
        disparity = torch.full((1, 1, 1, 1), 20.0)
        values.append(float(confidence_from_distribution(probability, disparity).mean()))
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.99
    assert values[-1] < 0.15


def test_confidence_has_a_finite_slope_when_certain():
    cost = torch.zeros(1, 48, 1, 1)
    cost[:, 5] = 200.0
    cost.requires_grad_()
    probability = distribution_from_cost(cost)
    confidence_from_distribution(probability, expected_disparity(probability)).sum().backward()
    assert torch.isfinite(cost.grad).all()


@pytest.mark.parametrize("training", [False, True])
def test_convnext_block_is_layer_norm_and_two_linear_layers(training):
    block = ConvNeXtBlock(6, expansion=4, layer_scale_init=0.7).train(training)
    x = torch.randn(2, 6, 5, 7)
    y = block.dwconv(x).permute(0, 2, 3, 1)
    y = F.layer_norm(y, (6,), block.norm.weight, block.norm.bias, eps=1e-6)
    y = block.pwconv2(F.gelu(block.pwconv1(y))) * 0.7
    torch.testing.assert_close(block(x), x + y.permute(0, 3, 1, 2))


def test_convnext_block_learns_the_same_with_its_scale_in_the_weights():
    block = ConvNeXtBlock(6, expansion=4, layer_scale_init=0.7)
    x, aim = torch.randn(2, 2, 6, 5, 7)
    gradients = []
    for training in (False, True):
        block.train(training).zero_grad()
        ((block(x) - aim) ** 2).sum().backward()
        gradients.append([p.grad.clone() for p in block.parameters()])
    torch.testing.assert_close(*gradients)


def test_convnext_block_trains_in_half_precision_within_its_rounding():
    block = ConvNeXtBlock(6, expansion=4, layer_scale_init=0.7)
    x = torch.randn(2, 6, 5, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = block(x)
        normed = block.norm(x.bfloat16())
    assert (half.dtype, normed.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(half, block(x), atol=0.03, rtol=0.03)


def test_half_precision_stays_out_of_statistics_disparity_and_confidence():
    cost = torch.randn(1, 48, 2, 2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        probability = distribution_from_cost(cost)
        disparity = expected_disparity(probability)
        outputs = [
            InstanceNorm()(torch.randn(1, 2, 8, 8).bfloat16()),
            correlation_volume(*torch.randn(2, 1, 4, 2, 8)),
            probability,
            disparity,
            convex_upsample(disparity, torch.randn(1, 9, 8, 8).bfloat16()),
            confidence_from_distribution(probability, disparity),
        ]
    assert [output.dtype for output in outputs] == [torch.float32] * 6
    exact = convex_upsample(torch.full((1, 1, 3, 3), 41.01), torch.zeros(1, 9, 12, 12))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = convex_upsample(torch.full((1, 1, 3, 3), 41.01), torch.zeros(1, 9, 12, 12))
    assert torch.equal(exact, again)


def test_few_channels_are_normalised_as_torch_does():
    torch.manual_seed(3)
    ours, theirs = _BatchNorm3d(4), torch.nn.BatchNorm3d(4)
    x = torch.randn(2, 4, 5, 6, 7) * 3 + 1
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    outputs = [norm(i) for norm, i in zip((ours, theirs), inputs, strict=True)]
    for output in outputs:
        (output * torch.arange(output.numel()).view(output.shape).sin()).sum().backward()
    assert torch.allclose(*outputs, atol=1e-5)
    assert torch.allclose(inputs[0].grad, inputs[1].grad, atol=1e-5)
    for name in ("running_mean", "running_var"):
        assert torch.allclose(getattr(ours, name), getattr(theirs, name), atol=1e-6)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("size", [(6, 10), (1, 1), (1, 7)])
def test_a_replicating_convolution_trains_as_it_answers(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(2)
    convolution = _ReplicatingConv2d(5)
    seen = []
    for training in (False, True):
        convolution.train(training).zero_grad()
        x = torch.randn(2, 5, *size, generator=generator.manual_seed(2)).requires_grad_()
        y = convolution(x)
        (y * torch.arange(y.numel()).view(y.shape).sin()).sum().backward()
        assert convolution.weight.grad is not None
        seen.append((y.detach(), x.grad, convolution.weight.grad.clone()))
    for whole, own in zip(*seen, strict=True):
        torch.testing.assert_close(own, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [4, 12])
@pytest.mark.parametrize(("channels", "outputs"), [(1, 4), (4, 4), (4, 1)])
def test_a_3d_convolution_by_groups_of_slices_is_the_same(
    channels: int, outputs: int, depth: int
) -> None:
    generator = torch.Generator().manual_seed(3)
    convolution = _Conv3d(channels, outputs, 3, padding=1, bias=False)
    volume = torch.randn(2, channels, depth, 6, 10, generator=generator)
    gradient = torch.randn(2, outputs, depth, 6, 10, generator=generator)
    seen = []
    for training in (False, True):
        convolution.train(training).zero_grad()
        x = volume.clone().requires_grad_()
        y = convolution(x)
        y.backward(gradient)
        assert convolution.weight.grad is not None
        seen.append((y.detach(), x.grad, convolution.weight.grad.clone()))
    for whole, grouped in zip(*seen, strict=True):
        torch.testing.assert_close(grouped, whole, rtol=1e-4, atol=1e-4)
