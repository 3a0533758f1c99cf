"""Tables of kernels of other runtimes: the TFLite GPU delegate's and TopHub's."""

from pathlib import Path

import pytest

from mnv3c.graph.errors import UserError
from mnv3c.profiles.readers import gpu_kernels_csv, tophub_csv
from mnv3c.profiles.readers.gpu_kernels_csv import variant_of

HEAD = "device,gpu,model,op,h_in,c_in,h_out,c_out,kernel,stride,groups,flops,kernel_name,latency_us\n"
WORKS = {
    "conv_2d,30,3,15,16,3,2,1,9,convolution_2d_0_linked_:_relu_1": (
        "kernel convolution_2d+relu conv2d 1x30x30x3->1x15x15x16 kernel=3x3 stride=2x2 padding=0x0x1x1 bias=yes "
        "activation=relu"
    ),
    "conv_2d,30,8,28,8,3,1,1,9,convolution_winograd_4x4_6x6_7": (
        "kernel convolution_winograd_4x4_6x6 conv2d 1x30x30x8->1x28x28x8 kernel=3x3 bias=yes"
    ),
    "conv_2d,7,8,7,16,1,1,1,9,convolution_2d_4_linked_:_add_5": (
        "kernel convolution_2d+add conv2d 1x7x7x8,1x7x7x16->1x7x7x16 bias=yes residual=before_activation"
    ),
    "conv_2d,7,8,7,16,1,1,1,9,convolution_2d_4_linked_:_add_5_linked_:_relu_6": (
        "kernel convolution_2d+add+relu conv2d 1x7x7x8,1x7x7x16->1x7x7x16 bias=yes activation=relu "
        "residual=before_activation"
    ),
    "conv_2d,7,8,7,16,1,1,1,9,convolution_2d_4_linked_:_relu_5_linked_:_add_6": (
        "kernel convolution_2d+relu+add conv2d 1x7x7x8,1x7x7x16->1x7x7x16 bias=yes activation=relu "
        "residual=after_activation"
    ),
    "conv_2d,1,8,1,16,1,1,1,9,fully_connected_4_linked_:_minimum_5_linked_:_relu_6": (
        "kernel fully_connected+minimum+relu conv2d 1x1x1x8->1x1x1x16 bias=yes activation=relu6"
    ),
    "conv_2d_group,14,24,7,24,3,2,3,9,convolution_2d_grouped_4_linked_:_relu_5": (
        "kernel convolution_2d_grouped+relu conv2d 1x14x14x24->1x7x7x24 kernel=3x3 stride=2x2 padding=0x0x1x1 groups=3 "
        "bias=yes activation=relu"
    ),
    # The padded input: 15 pixels, and no padding left to do.
    "depthwise_conv_2d,15,24,7,1,3,2,1,9,depthwise_convolution_4": (
        "kernel depthwise_convolution conv2d 1x15x15x24->1x7x7x24 kernel=3x3 stride=2x2 groups=24 bias=yes"
    ),
    "fully_connected,-,64,-,10,-,-,-,9,fully_connected_9": "kernel fully_connected dense 1x64->1x10 bias=yes",
    "mean,14,32,32,-,1,-,-,9,mean_3": "kernel mean global_average_pool 1x14x14x32->1x1x1x32",
    "max_pool_2d,30,8,15,-,3,2,-,9,pooling_2d_3": (
        "kernel pooling_2d pool2d 1x30x30x8->1x15x15x8 mode=max kernel=3x3 stride=2x2 padding=0x0x1x1"
    ),
    "average_pool_2d,7,8,1,-,7,1,-,9,mean_3": "kernel mean pool2d 1x7x7x8->1x1x1x8 mode=average kernel=7x7 stride=1x1",
    "concatenation,7,8,7,20,3,-,-,-,concat_8_linked_:_add_9": (
        "kernel concat+add concat 1x7x7x8,1x7x7x6,1x7x7x6->1x7x7x20"
    ),
    "concatenation,7,8,7,21,4,-,-,-,concat_8": "kernel concat concat 1x7x7x8,1x7x7x5,1x7x7x4,1x7x7x4->1x7x7x21",
}


def table(tmp_path: Path, text: str, name: str = "kernels_gpu_tflite_fp16.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("row", WORKS)
def test_gpu_kernels(tmp_path: Path, row: str) -> None:
    (record,) = gpu_kernels_csv.read(table(tmp_path, f"{HEAD}phone,gpu7,net,{row},1500\n"))
    assert str(record.work) == WORKS[row]
    assert (record.device, record.processor, record.runtime, record.precision) == ("phone", "gpu", "tflite", "fp16")
    assert (record.latency_ms, record.statistic) == (1.5, "mean")
    assert record.tags == {"gpu": "gpu7", "model": "net", "kernel_name": row.rpartition(",")[2]}


def test_a_variant_keeps_what_is_not_a_number_of_an_op() -> None:
    assert variant_of("convolution_winograd_4x4_6x6_12_linked_:_relu_13") == "convolution_winograd_4x4_6x6+relu"
    assert variant_of("convolution_2d_0") == "convolution_2d"


def test_the_same_kernel_on_two_devices_has_the_same_work(tmp_path: Path) -> None:
    row = "conv_2d,30,3,15,16,3,2,1,9,convolution_2d_{}"
    text = HEAD + f"one,a,net,{row.format(0)},5\ntwo,b,other,{row.format(7)},9\n"
    first, second = gpu_kernels_csv.read(table(tmp_path, text))
    assert first.work == second.work and first.key != second.key


GOOD = "phone,gpu7,net,conv_2d,30,3,15,16,3,2,1,9,convolution_2d_0,15\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (GOOD.replace("conv_2d", "lstm"), "column 'op' must be one of conv_2d,"),
        (GOOD.replace(",15,16,", ",13,16,"), "column 'h_out' must be what h_in, kernel and stride give"),
        (GOOD.replace("net,conv_2d", "net,depthwise_conv_2d"), "column 'c_out' must be 1, the multiplier"),
        (
            "phone,g,net,depthwise_conv_2d,15,24,8,1,3,2,1,9,depthwise_convolution_4,5\n",
            "column 'h_out' must be 7, as h_in, kernel and stride give",
        ),
        (GOOD.replace(",2,1,9,", ",2,2,9,"), "groups 2 does not divide 3 input channels"),
        (GOOD.replace(",15\n", ",-\n"), "column 'latency_us' must be a number above 0, not '-'"),
        (GOOD.replace("convolution_2d_0", "two words"), "variant must be one word"),
        (GOOD.replace("phone", ""), "column 'device' must not be empty"),
        ("p,g,n,concatenation,7,8,7,8,3,-,-,-,concat_8,5\n", "column 'c_out' must be at least 10"),
    ],
)
def test_wrong_gpu_kernels(tmp_path: Path, row: str, message: str) -> None:
    path = table(tmp_path, HEAD + GOOD + row)
    with pytest.raises(UserError) as error:
        gpu_kernels_csv.read(path)
    assert str(error.value).startswith(f"{path}:3: ") and message in str(error.value)


TOPHUB = "device,task,type,batch,hin,cin,cout,kernel,stride,dtype,cost_ms\n"


def test_tophub_takes_the_least_of_duplicates(tmp_path: Path) -> None:
    text = TOPHUB + (
        "board,conv2d_nchw.arm_cpu,pw,1,7,64,32,1,1,float32,2.0\n"
        "board,conv2d_nchw.arm_cpu,pw,1,7,64,32,1,1,float32,1.5\n"
        "board,conv2d_nchw.arm_cpu,pw,1,7,64,32,1,1,float32,1.75\n"
        "board,conv2d_winograd.mali,conv,1,8,64,32,3,1,float16,3.0\n"
        "?,depthwise.cuda,dw,1,9,16,16,5,2,int8,4.0\n"
        "board,dense.mali,,,,,,,,float32,9.0\n"
    )
    path = table(tmp_path, text, "tophub.csv")
    records = tophub_csv.read(path)
    assert [record.latency_ms for record in records] == [1.5, 3.0, 4.0]
    assert [(r.device, r.processor, r.runtime, r.precision) for r in records] == [
        ("board", "cpu", "tvm", "fp32"),
        ("board", "gpu", "tvm", "fp16"),
        ("unknown", "gpu", "tvm", "int8"),
    ]
    assert [str(record.work) for record in records] == [
        "kernel conv2d_nchw conv2d 1x7x7x64->1x7x7x32 bias=yes",
        "kernel conv2d_winograd conv2d 1x8x8x64->1x8x8x32 kernel=3x3 padding=1x1x1x1 bias=yes",
        "kernel depthwise conv2d 1x9x9x16->1x5x5x16 kernel=5x5 stride=2x2 padding=2x2x2x2 groups=16 bias=yes",
    ]
    assert list(tophub_csv.left_out(path)) == [f"{path}:7: dense.mali: the table does not tell its shape"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b,conv2d.npu,pw,1,7,8,8,1,1,float32,2", "column 'task' must be TEMPLATE.BACKEND with a backend of arm_cpu,"),
        ("b,conv2d.mali,fc,1,7,8,8,1,1,float32,2", "column 'type' must be one of pw, dw, conv, or empty"),
        ("b,conv2d.mali,pw,2,7,8,8,1,1,float32,2", "column 'batch' must be 1"),
        ("b,conv2d.mali,dw,1,7,8,16,1,1,float32,2", "column 'cout' must be 8, as cin"),
        ("b,conv2d.mali,pw,1,7,8,8,1,1,bool,2", "column 'dtype' must be one of float32, float16, int8"),
    ],
)
def test_wrong_tophub_rows(tmp_path: Path, row: str, message: str) -> None:
    path = table(tmp_path, TOPHUB + row)
    with pytest.raises(UserError) as error:
        tophub_csv.read(path)
    assert str(error.value).startswith(f"{path}:2: {message}")
