"""Gradients: replayed as launched, compiled or not, and averaged over processes as DDP does it."""

import copy
import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from litestereo.assets import bundled_artifact
from litestereo.errors import TrainingError
from litestereo.models.aggregation import ImageAttention
from litestereo.training.compiled import compile_step
from litestereo.training.gradients import Gradients, check_gradients
from litestereo.training.group import Group
from litestereo.training.options import TrainOptions
from litestereo.training.stages import make_run, train

TESTS = Path(__file__).parents[1]
TINY = {"batch": 2, "height": 64, "width": 128, "texture_size": 64, "compile_renderer": False}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_cuda_graph_needs_a_gpu(tmp_path):
    with pytest.raises(TrainingError, match="needs a CUDA GPU"):
        train(TrainOptions(output=tmp_path, steps=1, cuda_graph=True, **TINY))
    assert not list(tmp_path.iterdir())


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")  # torch.compile's own change from version to version
@pytest.mark.parametrize("compiled", [False, True])
def test_replayed_steps_learn_as_launched_ones(tmp_path, compiled):
    launched = TrainOptions(output=tmp_path, **TINY)
    replayed = replace(launched, compile_network=compiled, cuda_graph=True)
    errors = []
    for options in (launched, replayed):
        run = make_run(options)
        errors.append([])
        for _ in range(6):
            loss, metrics = run.advance(run.source.next())
            errors[-1].append((float(loss), float(metrics["epe_px"])))
        buffers = run.network.named_buffers()
        counted = [count for name, count in buffers if name.endswith("batches_tracked")]
        assert {int(count) for count in counted} == {6}  # warming up is not counted
    np.testing.assert_allclose(errors[1], errors[0], rtol=0.05)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")  # torch.compile's own change from version to version
@pytest.mark.parametrize("compiled", [False, True])
def test_a_replayed_step_draws_new_perturbations(tmp_path, compiled):
    run = make_run(
        TrainOptions(
            output=tmp_path,
            stage="self",
            weights=bundled_artifact("las1"),
            compile_network=compiled,
            cuda_graph=True,
            **TINY,
        )
    )
    batch = run.source.next()
    run.advance(batch)  # the first step compares its gradients with the network's own
    seen = (batch.left, batch.right, batch.disparity_px)
    generator = run.module.generator
    drawn = generator.get_state()
    losses = [float(run.gradients(*seen)[0]) for _ in range(3)]
    assert np.ptp(losses) > 0.01 * np.mean(losses)
    generator.set_state(drawn)
    assert float(run.gradients(*seen)[0]) == pytest.approx(losses[0], rel=1e-3)


class Tiny(torch.nn.Module):
    """A network and its loss; `small` has a tenth of the gradient's length."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm = torch.nn.BatchNorm1d(3)
        self.large, self.small = (torch.nn.Parameter(torch.rand(3)) for _ in range(2))

    def forward(self, values):
        return (self.norm(values) * values * (self.large + 0.1 * self.small)).sum(), {}


class Bent(Gradients):
    """Gradients that something has written to."""

    def __init__(self, module, bend):
        super().__init__(module)
        self.bend = bend

    def __call__(self, *batch):
        answer = super().__call__(*batch)
        self.bend(self.module)
        return answer


VALUES = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))


def compare(module, bend):
    gradients = Bent(module, bend)
    return check_gradients(gradients, module, Group(), VALUES, instead="train otherwise")


def test_steps_with_the_networks_own_gradients_pass_and_leave_no_trace():
    module = Tiny()
    assert compare(module, lambda _: None)
    assert compare(module, lambda module: module.large.grad.mul_(1.05))
    assert int(module.norm.num_batches_tracked) == 0


@pytest.mark.parametrize(
    "bend",
    [
        lambda module: module.small.grad.neg_(),
        lambda module: setattr(module.small, "grad", None),
        lambda module: module.large.grad.mul_(2.0),
        lambda module: module.large.grad.fill_(float("nan")),
    ],
)
def test_steps_with_other_gradients_are_refused(bend):
    with pytest.raises(TrainingError, match=r"not the network's own.*train otherwise"):
        compare(Tiny(), bend)


class Rounding(Tiny):
    """Bends its own gradients by as much as it is told, but in float32."""

    autocast = None
    share = 0.4

    def forward(self, values):
        loss, metrics = super().forward(values)
        if self.autocast is not False:
            loss = loss + self.share * (self.norm(values) * values * self.large[[1, 2, 0]]).sum()
        return loss, metrics


@pytest.mark.parametrize(("own", "used", "passes"), [(0.4, 0.5, True), (0.1, 0.5, False)])
def test_gradients_may_be_as_far_from_float32_as_the_networks_own(own, used, passes):
    module, other = Rounding(), Rounding()
    module.share, other.share = own, used
    gradients = Gradients(other)

    class Used(Gradients):
        def __call__(self, *batch):
            answer = gradients(*batch)
            for mine, theirs in zip(module.parameters(), other.parameters(), strict=True):
                mine.grad = theirs.grad
            return answer

    with nullcontext() if passes else pytest.raises(TrainingError, match="from float32's"):
        assert check_gradients(Used(module), module, Group(), VALUES, instead="train otherwise")
    assert module.autocast is None


def test_without_memory_for_another_step_nothing_is_compared():
    def fill(module):
        module.forward = fails
        module.large.grad.neg_()

    def fails(_):
        raise torch.cuda.OutOfMemoryError("full")

    module = Tiny()
    assert not compare(module, fill)
    assert int(module.norm.num_batches_tracked) == 0


def test_steps_that_draw_numbers_are_compared_with_the_same_ones():
    class Drawing(Tiny):
        generator = torch.Generator().manual_seed(3)

        def forward(self, values):
            return super().forward(values * torch.randn(4, 3, generator=self.generator))

    class Recording(Gradients):
        """Draws in its first call more than in others."""

        recorded = False

        def __call__(self, *batch):
            if not self.recorded:
                torch.randn(5, generator=self.module.generator)
                self.recorded = True
            return super().__call__(*batch)

    module = Drawing()
    assert check_gradients(Recording(module), module, Group(), VALUES, instead="train otherwise")


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++ for a CPU")
@pytest.mark.filterwarnings("ignore")  # torch.compile's own change from version to version
def test_a_compiled_step_has_the_gradients_of_a_launched_one(tmp_path):
    """All of LAS1 at once: its parts, compiled alone, were right where the whole was not."""
    script, output = TESTS.parent / "benchmarks/compiled_gradients.py", tmp_path / "apart.json"
    size = ("--pairs", "2", "--height", "64", "--width", "128", "--precision", "float32")
    command = [sys.executable, script, *size, "-o", output]
    subprocess.run(command, check=True, timeout=500)
    compiled = json.loads(output.read_text())["apart"]["compiled float32"]
    assert compiled["whole"] < 0.01
    # Sums in another order move single ones by 0.007 to 0.021, by threads and weights; faults by 1.
    assert max(compiled["worst"].values()) < 0.05


@pytest.mark.parametrize("known", [True, False])
def test_a_step_is_compiled_without_what_has_given_wrong_gradients(tmp_path, monkeypatch, known):
    name, given = "triton.mix_order_reduction", []
    monkeypatch.setattr("torch._inductor.list_options", lambda: [name] if known else [])
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _, options: given.append(options))
    make_run(TrainOptions(output=tmp_path, compile_network=True, **TINY))
    assert given == [{name: False} if known else None]


class Gating(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = ImageAttention(3, 3)

    def forward(self, values):
        return self.attention(values.sin(), values).cos()


@pytest.mark.filterwarnings("ignore")  # torch.compile's own change from version to version
def test_a_compiled_step_launches_the_attention(monkeypatch):
    compile_it, nodes = torch.nn.Module.compile, []

    def keep(graph, _):
        nodes.extend(node.name for node in graph.graph.nodes)
        return graph

    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda it, options: compile_it(it, backend=keep)
    )
    step, values = Gating(), VALUES.reshape(1, 3, 2, 2)
    parameters, names = list(step.parameters()), list(step.state_dict())
    expected = step(values)
    gradients = torch.autograd.grad(expected.sum(), parameters)
    compile_step(step)
    assert torch.equal(step(values), expected)
    assert all(map(torch.equal, torch.autograd.grad(step(values).sum(), parameters), gradients))
    assert {"sin", "cos"} <= set(nodes)
    assert not any("conv" in name for name in nodes)
    assert list(step.state_dict()) == names
    other = copy.deepcopy(step)
    torch.nn.init.zeros_(other.attention.conv3.weight)
    assert not torch.equal(other(values), expected)


AVERAGE = """
import gc
import sys
from pathlib import Path
import torch
from litestereo.training import loop
from litestereo.training.gradients import Gradients
from litestereo.training.group import joined_group

sys.path.append(sys.argv[1])
from tiny_run import Source, tiny_run

if not torch.cuda.is_available():  # launched then, and averaged as replayed ones are
    loop.ReplayedGradients, loop.check_replay = Gradients, lambda *_: None
with joined_group() as group:
    mean = torch.full((3,), float(group.rank), device=group.device)
    group.average(mean)
    assert mean.tolist() == [0.5, 0.5, 0.5]
    averages = []
    for cuda_graph in (False, True):
        run = tiny_run(
            Path(sys.argv[2], str(cuda_graph)),
            # Of the second process alone the third batch is bad.
            source=Source(first=1 + 10 * group.rank, bad={13}, device=group.device),
            group=group,
            start=group.rank,
            steps=5,
            peak_learning_rate=0.01,
            cuda_graph=cuda_graph,
        )
        assert type(run.gradients).__name__ == ("AveragedGradients" if cuda_graph else "Gradients")
        # A run allows it, and both ways may round differently by it.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        run.go()
        weights = [parameter.detach() for parameter in run.network.parameters()]
        first = [weight.clone() for weight in weights]
        group.share(first)
        assert all(map(torch.equal, first, weights)), "processes differ"
        averages.append(run.average.network(run.network).state_dict())
    if group.rank == 0:
        torch.testing.assert_close(averages[1], averages[0], rtol=1e-3, atol=1e-4)
del run
gc.collect()
names = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
assert not any("gloo" in name for name in names), f"the group's threads go on: {names}"
"""


def average_in_two_processes(tmp_path, **environment):
    script = tmp_path / "average.py"
    script.write_text(AVERAGE)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ran = subprocess.run(
        [*command, "--nproc-per-node", "2", script, TESTS, tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert ran.returncode == 0, ran.stderr


def test_two_processes_average_as_ddp_does(tmp_path):
    average_in_two_processes(tmp_path, CUDA_VISIBLE_DEVICES="")


@pytest.mark.gpu
def test_two_gpus_average_what_they_replay(tmp_path):
    if torch.cuda.device_count() < 2:
        pytest.skip("fewer than two CUDA GPUs here")
    average_in_two_processes(tmp_path)
