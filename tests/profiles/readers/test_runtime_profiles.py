"""Profiles that runtimes write: LiteRT's in the form its source gives, onnxruntime's a real one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mnv3c.graph.errors import UserError
from mnv3c.profiles.readers import litert_profile, onnxruntime_profile
from mnv3c.profiles.readers.onnxruntime_keys import event_key
from mnv3c.profiles.readers.origin import Origin
from mnv3c.profiles.work import KernelWork

TITLE = "============================== {} ==============================\n"
COLUMNS = "\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]\n"
INITIALISATION = (
    "Profiling Info for Benchmark Initialization:\n"
    + TITLE.format("Run Order")
    + COLUMNS
    + "\tAllocateTensors\t0.1\t0.099\t100%\t100%\t64.0\t1\tAllocateTensors/0\n\n"
)
NODES = (
    "\tCONV_2D\t0.031\t0.030\t60%\t60%\t0.0\t1\t[net/stem/Relu6, net/x]:0\n"
    "\tFULLY_CONNECTED\t0.021\t2e-2\t40%\t100%\t0.0\t2\t[net/logits]:1\n"
)
REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs:\n" + TITLE.format("Run Order") + COLUMNS + NODES
TOP = "\n" + TITLE.format("Top by Computation Time") + COLUMNS + "\tCONV_2D\t1\t1\t1%\t1%\t0\t1\t[twice]:0\n"
END = "\nNumber of nodes executed: 2\nTimings (microseconds): count=50 first=52 curr=51 min=50 max=60 avg=51 std=1\n"
LOG = (
    "INFO: Num threads: [4]\nINFO: Graph: [/data/net v1/small.tflite]\n"
    "INFO: Inference timings in us: Init: 99, First inference: 60, Warmup (avg): 55, Inference (avg): 53.5\n"
)


def file(tmp_path: Path, text: str, name: str = "profile.txt") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_litert_profile(tmp_path: Path) -> None:
    path = file(tmp_path, LOG + INITIALISATION + REGULAR + TOP + END)
    records = litert_profile.read(path, Origin(device="phone", processor="cpu"))
    assert [(str(record.work), record.latency_ms, record.n) for record in records] == [
        ("node CONV_2D [net/stem/Relu6, net/x]:0", 0.030, 50),
        ("node FULLY_CONNECTED [net/logits]:1", 0.020, 50),
        ("network small.tflite", 0.0535, None),
    ]
    assert [record.tags for record in records] == [{}, {"times_called": "2"}, {}]
    assert {(r.device, r.processor, r.runtime, r.threads, r.statistic) for r in records} == {
        ("phone", "cpu", "litert", 4, "mean")
    }


def test_a_litert_profile_with_commas_and_start(tmp_path: Path) -> None:
    text = TITLE.format("Run Order") + "node type, start, first, avg_ms, %, cdf%, mem KB, times called, name\n"
    text += "CONV_2D, 0.0, 0.031, 0.030, 60%, 60%, 0.0, 1, net/a\tnet/b:0\n"
    (record,) = litert_profile.read(file(tmp_path, text, "p.csv"))
    assert (str(record.work), record.latency_ms, record.n) == ("node CONV_2D net/a net/b:0", 0.030, None)


def test_the_ops_of_a_delegate_stand_for_its_node(tmp_path: Path) -> None:
    delegate = NODES.replace("CONV_2D", "TfLiteXNNPackDelegate").replace("[net/stem/Relu6, net/x]", "[net/all]")
    inside = "\nDelegate internal:\n" + TITLE.format("Run Order") + COLUMNS
    inside += "\tConvolution (NHWC, F32) IGEMM\t0.01\t0.01\t1%\t1%\t0\t1\tDelegate/IGEMM:0\n"
    whole = litert_profile.read(file(tmp_path, REGULAR.replace(NODES, delegate) + TOP + END))
    assert [str(record.work) for record in whole] == [
        *("node TfLiteXNNPackDelegate [net/all]:0", "node FULLY_CONNECTED [net/logits]:1")
    ]
    told = litert_profile.read(file(tmp_path, REGULAR.replace(NODES, delegate) + TOP + END + inside))
    assert [str(record.work) for record in told] == [
        *("node FULLY_CONNECTED [net/logits]:1", "node Convolution_(NHWC,_F32)_IGEMM Delegate/IGEMM:0")
    ]


def test_no_credible_number_of_threads_is_none(tmp_path: Path) -> None:
    told, absurd = (file(tmp_path, f"Num threads: [{count}]\n" + REGULAR, f"{count:.3}") for count in ("4", "9" * 5000))
    assert litert_profile.read(told)[0].threads == 4
    assert litert_profile.read(absurd)[0].threads == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no profile\n", ": has no table 'Run Order'"),
        (REGULAR.replace("[avg ms]", "[average]"), ":3: column 'avg ms' is missing; needed are node type, avg ms,"),
        (REGULAR.replace("\t0.030\t", "\tslow\t"), ":4: column 'avg ms' must be a number, not 'slow'"),
        (REGULAR.replace("\t2e-2\t", "\t0\t"), ":5: latency_ms: Input should be greater than 0"),
        (REGULAR + "\tCONV_2D\t1\n", ":6: has 2 columns, not 8"),
        (REGULAR.replace("net/logits", "net\x07"), ":5: name must be printable"),
        (LOG.replace("53.5", "1.2.3") + REGULAR, ": Inference (avg): could not convert"),
    ],
)
def test_a_wrong_litert_profile(tmp_path: Path, text: str, message: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(UserError) as error:
        litert_profile.read(path)
    assert str(error.value).startswith(f"{path}{message}") and "\n" not in str(error.value)


def model() -> Any:
    """Stem, depthwise, pointwise with residual, pool, classifier, and a node that no key describes."""
    generator = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node(
            "Conv", ["x", "w1", "b1"], ["a"], "stem", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]
        ),
        helper.make_node("Conv", ["a", "wd"], ["d"], "dw", kernel_shape=[5, 5], pads=[2, 2, 2, 2], group=16),
        helper.make_node("Conv", ["d", "wp"], ["p"], "pw", kernel_shape=[1, 1]),
        helper.make_node("Add", ["p", "a"], ["s"], "sum"),
        helper.make_node("Relu", ["s"], ["r"], "act"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "wf", "bf"], ["y"], "fc", transB=1),
    ]
    weights = [weight("w1", 16, 3, 3, 3), weight("b1", 16), weight("wd", 16, 1, 5, 5), weight("wp", 16, 16, 1, 1)]
    weights += [weight("wf", 10, 16), weight("bf", 10)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 256, 256])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(nodes, "net", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def profile(folder: Path, level: str, runs: int = 6) -> Path:
    """A profile that onnxruntime writes."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "ort")
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(model().SerializeToString(), options, providers=["CPUExecutionProvider"])
    for _ in range(runs):
        session.run(None, {"x": np.zeros((1, 3, 256, 256), np.float32)})
    return Path(session.end_profiling())


def test_a_real_onnxruntime_profile(tmp_path: Path) -> None:
    onnx.checker.check_model(model())
    path = profile(tmp_path, "ORT_DISABLE_ALL")
    *nodes, network = onnxruntime_profile.read(path, Origin(device="host"))
    works = {record.tags["node"]: str(record.work) for record in nodes}
    quick = {line.split(": ")[1] for line in onnxruntime_profile.left_out(path)}
    expected = {
        "stem": ("kernel Conv conv2d 1x256x256x3->1x128x128x16 kernel=3x3 stride=2x2 padding=0x0x1x1 bias=yes"),
        "dw": "kernel Conv conv2d 1x128x128x16->1x128x128x16 kernel=5x5 padding=2x2x2x2 groups=16",
        "pw": "kernel Conv conv2d 1x128x128x16->1x128x128x16",
        "sum": "kernel Add add 1x128x128x16,1x128x128x16->1x128x128x16",
        "act": "kernel Relu activate 1x128x128x16->1x128x128x16 activation=relu",
        "pool": "kernel GlobalAveragePool global_average_pool 1x128x128x16->1x1x1x16",
        "flat": "node Flatten flat",
        "fc": "kernel Gemm dense 1x16->1x10 bias=yes",
    }
    # What takes less than the profile's microsecond may be missing: never a convolution of this size.
    assert quick <= {"flat", "fc"}
    assert works == {name: text for name, text in expected.items() if name not in quick}
    assert str(network.work) == f"network {path.stem}"
    for record in (*nodes, network):
        assert (record.device, record.processor, record.runtime, record.threads) == ("host", "cpu", "onnxruntime", 1)
        assert record.n is not None and 3 <= record.n <= 6 and record.statistic == "median"
        assert record.p10_ms is not None and record.p90_ms is not None
        assert record.p10_ms <= record.latency_ms <= record.p90_ms
    assert {record.precision for record in nodes} == {"fp32"}
    assert sum(record.latency_ms for record in nodes) < 2 * network.latency_ms


def test_a_real_onnxruntime_profile_after_fusion(tmp_path: Path) -> None:
    """With all optimisations residual and activation are in the convolution; the layer is still told."""
    records = onnxruntime_profile.read(profile(tmp_path, "ORT_ENABLE_ALL"))
    convolutions = [r.work for r in records if isinstance(r.work, KernelWork) and r.work.key.kind == "conv2d"]
    assert [work.key.macs for work in convolutions] == [128 * 128 * 16 * taps for taps in (27, 25, 16)]


def event(**changes: Any) -> dict[str, Any]:
    shapes = {"input_type_shape": [{"float": [1, 8, 4, 4]}], "output_type_shape": [{"float": [1, 8, 1, 1]}]}
    args = {"op_name": "GlobalAveragePool", "provider": "CPUExecutionProvider", "node_index": "0", **shapes}
    return {"cat": "Node", "name": "pool_kernel_time", "dur": 5, "ts": 0, "args": args, **changes}


def test_a_node_of_no_duration_is_left_out(tmp_path: Path) -> None:
    quick = event(name="quick_kernel_time", dur=0)
    path = file(tmp_path, json.dumps([event(), quick, event(dur=7), event(dur=6), event(dur=6)]), "p.json")
    (record,) = onnxruntime_profile.read(path)
    assert (record.tags["node"], record.latency_ms, record.n) == ("pool", 0.006, 4)
    assert [line.split(": ")[1] for line in onnxruntime_profile.left_out(path)] == ["quick"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", ": is not JSON: "),
        ("[" * 100_000, ": is not JSON: "),
        ('{"cat": "Node"}', ": must be a list of events"),
        (json.dumps([event(dur=-1)]), ": event 0: dur must be whole microseconds, not -1"),
        (json.dumps([event(dur=10**400)]), ": event 0: dur must be whole microseconds, not 1000"),
        (json.dumps([event(), event(args={})]), ": event 1 (pool): args.op_name is missing"),
        (json.dumps([event(args={"op_name": "Add", "input_type_shape": [3]})]), ": event 0: shapes must be lists like"),
        (json.dumps([event(dur=0)]), ": has no event of a node that lasts a microsecond"),
        ("[]", ": has no event of a node"),
        (json.dumps([event(args={"op_name": "two words"})]), ": node 'pool': op must be one word"),
    ],
)
def test_a_wrong_onnxruntime_profile(tmp_path: Path, text: str, message: str) -> None:
    path = file(tmp_path, text, "p.json")
    with pytest.raises(UserError) as error:
        onnxruntime_profile.read(path)
    assert str(error.value).startswith(f"{path}{message}") and "\n" not in str(error.value)


def test_shapes_that_tell_no_layer() -> None:
    assert event_key("Conv", [(1, 8, 4, 4)], (1, 8, 4, 4)) is None  # the weight was packed away
    assert event_key("Add", [(1, 8, 4, 4), (8,)], (1, 8, 4, 4)) is None
    assert event_key("Conv", [(1, 8, 4, 4), (8, 0, 1, 1)], (1, 8, 4, 4)) is None
    assert event_key("Conv", [(1, 8, 4, 4), (8, 8, 1, 1)], (1, 8, 0, 4)) is None
    assert event_key("Gemm", [(1, 8)], (1, 2, 2, 2)) is None
    assert event_key("Resize", [(1, 8, 4, 4)], (1, 8, 8, 8)) is None
