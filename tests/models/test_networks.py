"""The assembled networks: shapes, errors, training, and how they are made."""

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from litestereo.errors import InputError
from litestereo.models import MODEL_NAMES, MODEL_SPECS, create


def pair(batch=1, height=32, width=64):
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(batch, 3, height, width, generator=generator) * 255
    return left, left.roll(-3, dims=3)


def test_names_come_without_torch():
    code = (
        "import sys, litestereo.models as m; print(m.MODEL_NAMES); "
        "assert not {'torch', 'onnx', 'onnxruntime', 'cv2'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "las2_h" in run.stdout


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_outputs_have_the_size_of_the_images(name):
    model = create(name).eval()
    with torch.inference_mode():
        disparity, confidence = model(*pair(height=64, width=32))
    for output in (disparity, confidence):
        assert output.shape == (1, 1, 64, 32)
        assert output.dtype == torch.float32
    assert float(disparity.min()) >= 0
    assert 0 <= float(confidence.min()) <= float(confidence.max()) <= 1


@pytest.mark.parametrize("name", ["las1", "las2_h"])
def test_a_batch_equals_its_samples(name):
    model = create(name).eval()
    left, right = pair(batch=2)
    with torch.inference_mode():
        together = model(left, right)
        alone = [model(left[i : i + 1], right[i : i + 1]) for i in range(2)]
    for k in range(2):
        joined = torch.cat([outputs[k] for outputs in alone])
        torch.testing.assert_close(together[k], joined, rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_registry_counts_are_those_of_the_built_model(name):
    with torch.device("meta"):
        model = create(name).eval()
        left = torch.empty(1, 3, 384, 1248)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(left, left)
    flops = counter.get_flop_counts()["Global"]
    gmacs = flops[torch.ops.aten.convolution] / 2e9
    spec = MODEL_SPECS[name]
    assert sum(p.numel() for p in model.parameters()) == spec.parameters
    assert round(gmacs, 1) == spec.gmacs_384x1248


def test_las2_h_saves_what_the_published_count_spends():
    """The published 178.0 G runs the mask branch on all four steps and counts the row products."""
    mask_gmacs = 3 * (64 * 32 + 32 * 16) * 9 * 96 * 312 / 1e9
    row_product_gmacs = 40 * 96 * 312**2 / 1e9
    ours = MODEL_SPECS["las2_h"].gmacs_384x1248
    assert round(ours + mask_gmacs + row_product_gmacs) == 178


@pytest.mark.parametrize("name", ["las1", "las2_s", "las2_h"])
def test_every_parameter_learns_in_bf16(name):
    torch.manual_seed(0)
    model = create(name).train()
    left, right = pair(batch=2, height=64, width=64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        stages = model.stages(left, right)
    assert stages.disparity.dtype == stages.disparity_quarter.dtype == torch.float32
    loss = sum(p.mean() for p in stages.predictions) + stages.disparity_quarter.mean()
    loss.backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []
    broken = [n for n, p in model.named_parameters() if not torch.isfinite(p.grad).all()]
    assert broken == []


def test_las2_h_predicts_at_every_step_when_training_only():
    model = create("las2_h")
    trained = model.train().stages(*pair(batch=2, height=64, width=64))
    assert len(trained.predictions) == 4
    assert trained.predictions[-1] is trained.disparity
    assert len(model.eval().stages(*pair()).predictions) == 1


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")
@pytest.mark.parametrize(("name", "half"), [("las1", True), ("las2_h", False)])
def test_compiles_as_one_graph(name, half):
    model = create(name).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    left, right = pair()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        got, expected = compiled(left, right)[0], model(left, right)[0]
    torch.compiler.reset()
    torch.testing.assert_close(got, expected)


def test_channels_last_changes_nothing():
    model = create("las1").eval()
    left, right = pair()
    with torch.inference_mode():
        expected = model(left, right)[0]
        model = model.to(memory_format=torch.channels_last)
        got = model(*(x.contiguous(memory_format=torch.channels_last) for x in (left, right)))[0]
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-4)


def test_layer_scale_init_starts_the_scales():
    scales = [p for n, p in create("las1", layer_scale_init=0.1).named_parameters() if "gamma" in n]
    assert len(scales) == 28
    assert all(bool((scale == 0.1).all()) for scale in scales)
    default = dict(create("las1").named_parameters())["cost_agg_2d.redir1.gamma"]
    assert bool((default == 1e-6).all())
    with pytest.raises(InputError, match="las2_s has no layer scales"):
        create("las2_s", layer_scale_init=0.1)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"'las3'.*las1, las2_s"):
        create("las3")


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (torch.zeros(1, 3, 48, 64), torch.zeros(1, 3, 48, 64), "48x64.*multiples of 32"),
        (torch.zeros(1, 3, 32, 64), torch.zeros(1, 3, 32, 32), "must have one shape"),
        (torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32), r"left image is \(1, 1, 32, 32\)"),
        (torch.zeros(3, 32, 32), torch.zeros(3, 32, 32), r"needs \(B, 3, H, W\)"),
        (torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32).byte(), "right image.*uint8"),
        (torch.zeros(1, 3, 0, 32), torch.zeros(1, 3, 0, 32), "multiples of 32"),
    ],
)
def test_unfit_images_are_refused(left, right, message):
    with pytest.raises(InputError, match=message):
        create("las2_s")(left, right)
