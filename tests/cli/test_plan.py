"""`mnv3c measure --plan`: which layers and blocks it picks, and what it refuses. Nothing is measured."""

from pathlib import Path
from typing import Any

import pytest

from mnv3c.cli.plan import planned_jobs
from mnv3c.compiler.measure.job import Job
from mnv3c.graph.layer import LayerKey
from mnv3c.profiles.record import RecordStore, record_of

PRIOR = "pixel4-cpu-tflite"
BLOCKS = """h_in,c_in,c_out,c_expand,kernel,stride,activation,latency_ms
28,40,80,120,3,1,relu,0.5
14,40,80,120,3,1,relu,0.3
56,24,32,64,5,2,relu,0.9
56,24,32,64,5,2,relu,0.8
"""
LAYERS = [f"conv2d 1x{size}x{size}x40->1x{size}x{size}x80 bias=yes activation=relu" for size in (7, 14, 28)]
LITERT = "=== Run Order ===\n[node type]\t[avg ms]\t[times called]\t[Name]\nCONV_2D\t1.0\t1\tx\n"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = tmp_path / "blocks.csv"
    path.write_text(BLOCKS)
    return path


def test_a_longer_plan_begins_as_a_shorter_one(mnv3c: Any, pool: Path) -> None:
    plans = [
        mnv3c("measure", "--plan", count, "--prior", PRIOR, "--pool", pool, "--json").document["plan"]
        for count in (1, 2, 3)
    ]
    assert [len(set(plan)) for plan in plans] == [1, 2, 3]
    assert plans[2][:1] == plans[0] and plans[2][:2] == plans[1]
    listed = mnv3c("measure", "--plan", 3, "--prior", PRIOR, "--pool", pool)
    assert listed.stdout.splitlines() == plans[2]


def test_what_is_measured_is_not_planned_again(tmp_path: Path) -> None:
    jobs = [Job.of_layer(LayerKey.parse(text)) for text in LAYERS]
    store = RecordStore(tmp_path / "records.jsonl")
    fields = {"device": "d", "processor": "cpu", "runtime": "r", "precision": "fp32", "threads": 1, "latency_ms": 1.0}
    store.append(record_of({"work": LAYERS[1], **fields}, "made up"))
    picked = planned_jobs(jobs, 2, PRIOR, store)
    assert sorted(job.name for job in picked) == sorted((LAYERS[0], LAYERS[2]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--plan", "4", "--prior", PRIOR, "--pool", "{pool}"), "4 rows cannot be chosen of 3"),
        (("--plan", "1", "--pool", "{pool}"), "--plan needs --prior PROFILE"),
        (("--prior", PRIOR), "--prior is for --plan N"),
        (("--pool", "{pool}"), "--pool is for --plan N"),
        (("--plan", "1", "--prior", "nobody", "--pool", "{pool}"), "unknown profile 'nobody'"),
        (("--plan", "1", "--prior", PRIOR, "--pool", "none.csv"), "none.csv: there is no such file"),
        (("--plan", "1", "--prior", PRIOR, "--pool", "{shapeless}"), "of 'node CONV_2D x' nobody says the shapes"),
    ],
)
def test_wrong_input(mnv3c: Any, pool: Path, words: tuple[str, ...], said: str) -> None:
    shapeless = pool.with_name("litert.txt")
    shapeless.write_text(LITERT)
    outcome = mnv3c("measure", *(word.format(pool=pool, shapeless=shapeless) for word in words))
    assert outcome.code == 2 and said in outcome.message
