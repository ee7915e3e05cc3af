"""A plan in words and tables, for `stereo-plan`."""

from __future__ import annotations

from litestereo.runtime.plan import Plan, SizeOption

__all__ = ["plan_text"]


def plan_text(plan: Plan) -> str:
    """Return a plan for a terminal.

    Args:
        plan: for a rig.
    """
    request, option = plan.request, plan.option
    height, width = request.size
    measured = option.measured.get(plan.model)
    latency = (
        f"p50 {measured.p50_ms:.1f} ms, p99 {measured.p99_ms:.1f} ms on {measured.device} "
        f"({measured.backend}, {measured.precision}; {measured.source})"
        if measured
        else "not measured"
    )
    lines = [
        f"pictures      {height}x{width}, f {request.focal_px:g} px, baseline "
        f"{request.baseline_m:g} m",
        f"distances     {request.near_m:g} to {request.far_m:g} m: disparities "
        f"{request.disparity_px(request.near_m):.1f} to {request.disparity_px(request.far_m):.1f} "
        "px",
        f"max disparity {plan.max_disparity_px:.0f} px (--max-disparity)",
        f"run at        {_size(option)}, scale {option.scale:.3g}; sees from "
        f"{option.nearest_m:.3g} m",
        f"model         {plan.model}: {plan.why}",
        f"latency       {latency}; {request.rate_hz:g} Hz leave {1000 / request.rate_hz:.1f} ms",
        "",
        f"expected depth error for {request.disparity_error_px:g} px of disparity error, as the "
        "network sees it",
        f"{'distance m':>12}{'disparity px':>14}{'error m':>12}{'error %':>10}",
    ]
    lines += [
        f"{each.distance_m:>12.3g}{each.disparity_px:>14.1f}{each.error_m:>12.3g}"
        f"{100 * each.error_share:>10.2f}"
        for each in plan.expected
    ]
    lines += ["", f"{'sizes':<12}{'scale':>7}{'near m':>9}{'far error m':>13}  GMACs, p99 ms"]
    lines += [_option_line(each) for each in plan.options]
    lines += [f"note: {note}" for note in plan.notes]
    return "\n".join(lines)


def _option_line(option: SizeOption) -> str:
    costs = []
    for model, gmacs in option.gmacs.items():
        measured = option.measured.get(model)
        speed = f"{measured.p99_ms:.1f} ms" if measured else "not measured"
        costs.append(f"{model} {gmacs:.1f}, {speed}")
    return (
        f"{_size(option):<12}{option.scale:>7.3g}{option.nearest_m:>9.3g}"
        f"{option.far_error_m:>13.3g}  {'; '.join(costs)}"
    )


def _size(option: SizeOption) -> str:
    return f"{option.inference_size[0]}x{option.inference_size[1]}"
