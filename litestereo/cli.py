"""The entry points of the stereo-* commands; `litestereo.commands` has one module for each."""

from litestereo.commands.bench import bench_main
from litestereo.commands.calibrate import calibrate_main
from litestereo.commands.doctor import doctor_main
from litestereo.commands.evaluate import eval_main
from litestereo.commands.export import export_main
from litestereo.commands.plan import plan_main
from litestereo.commands.run import run_main
from litestereo.commands.train import train_main

__all__ = [
    "bench_main",
    "calibrate_main",
    "doctor_main",
    "eval_main",
    "export_main",
    "plan_main",
    "run_main",
    "train_main",
]
