"""Health: percentiles by their definition, Prometheus text that its grammar accepts."""

import re

import pytest

from litestereo.runtime.stream.health import Health, health_line, prometheus_text

# A line of the text exposition format: comment, or name{labels} value.
COMMENT = re.compile(r"# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge))")
SAMPLE = re.compile(r'([a-z_]+)\{([a-z]+="(\\.|[^"\\\n])*",?)+\} -?\d+(\.\d+)?(e-?\d+)?')


def filled():
    health = Health()
    for k in range(100):
        health.count("frames_in")
        health.handed_out(100.0 - k, inference_ms=10.0, late=k < 3, now_s=k / 30)
    health.count("frames_in", 5)
    health.count("dropped", 4)
    return {**health.snapshot(), "level": "half", "level_index": 1, "engine_silent_s": 0.25}


def test_percentiles_rates_and_the_balance():
    health = filled()
    assert health["age_ms"] == {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
    assert health["rate_hz"] == 30.0
    assert health["late"] == 3
    assert health["in_flight"] == 1


def test_the_rate_falls_when_nothing_comes_any_more():
    health = Health()
    for k in range(3000):
        health.handed_out(20.0, inference_ms=10.0, late=False, now_s=k / 30)
    rates_hz = [health.snapshot(100.0 + after_s)["rate_hz"] for after_s in (0, 5, 9, 11)]
    assert rates_hz == pytest.approx([30, 15, 3, 0], abs=0.11)


def test_an_empty_stream_has_no_percentiles():
    health = Health().snapshot()
    assert health["age_ms"]["p99"] is None
    assert health["rate_hz"] == 0.0
    assert "p99" not in health_line(health)
    assert "quantile" not in prometheus_text(health)


def test_the_line_names_what_is_not_zero():
    line = health_line(filled())
    assert line.startswith("30.0 Hz, in 105, out 100, dropped 4, late 3, age p50 50.0 p99 99.0 ms")
    assert "unpaired" not in line
    assert "level half (0 down, 0 up)" in line


def test_prometheus_text_is_in_its_format():
    text = prometheus_text(filled(), stream='front "left"\\\n')
    assert text.endswith("\n")
    lines = text.splitlines()
    described = set()
    for line in lines:
        if line.startswith("#"):
            assert COMMENT.fullmatch(line), line
            described.add(line.split()[2])
        else:
            assert SAMPLE.fullmatch(line), line
            assert line.split("{")[0] in described
    assert len(lines) == len(set(lines))
    label = 'stream="front \\"left\\"\\\\\\n"'
    assert f"litestereo_frames_in_total{{{label}}} 105" in lines
    assert f'litestereo_age_seconds{{{label},quantile="0.99"}} 0.099000' in lines
    assert f"litestereo_engine_silent_seconds{{{label}}} 0.25" in lines


def test_percentiles_look_back_over_the_last_results_only():
    health = Health()
    for age_ms in [1000.0] * 50 + [1.0] * 1024:
        health.handed_out(age_ms, inference_ms=1.0, late=False, now_s=0.0)
    assert health.snapshot()["age_ms"]["max"] == 1.0
