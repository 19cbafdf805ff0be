#!/usr/bin/env python3
"""Writes the expected values of the operators' cases: tests/expected/OPERATOR.txt.

    WRITE_CASES=FILE cargo test --test expected cases_are_written
    tools/expected_values.py FILE [OPERATOR…] [--both]

FILE has every case with its inputs. Each is given to onnxruntime on the CPU, with its rewrites off; where it
lacks the operator, the type or the version, to the reference evaluator of the package onnx; and where neither
serves to arithmetic written from ONNX's text (tools/expected_by_text.py). ELSEWHERE names the cases for which
onnxruntime's answer is not taken, and why. tests/support/expected.rs describes the form of the files, and
tests/expected.rs compares eval with them.

With --both, small cases that both answer are compared, and printed where the two differ by more than
rounding. Needs Python's packages onnxruntime, onnx and numpy. Without OPERATOR all files are written anew.

Convolutions and products of uint8 by int8 want a machine with VNNI: on others onnxruntime saturates sums of
two products at 16 bits, and what keeps it from that is one of the rewrites.
"""
import argparse
import collections
import json
import pathlib
import sys
import warnings

import ml_dtypes
import numpy
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from expected_by_text import TEXT, with_open

KEPT, FIRST = 32, 8
ORT, REFERENCE, BY_TEXT = "onnxruntime", "onnx's reference evaluator", "ONNX's text"
KINDS = {
    "int": onnx.AttributeProto.INT,
    "float": onnx.AttributeProto.FLOAT,
    "ints": onnx.AttributeProto.INTS,
    "floats": onnx.AttributeProto.FLOATS,
    "string": onnx.AttributeProto.STRING,
    "strings": onnx.AttributeProto.STRINGS,
}
# Types that numpy lacks, by ONNX's name in lower case.
NARROW = {
    "bfloat16": ml_dtypes.bfloat16,
    "float8e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8e5m2": ml_dtypes.float8_e5m2,
    "float8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float4e2m1": ml_dtypes.float4_e2m1fn,
    "uint4": ml_dtypes.uint4,
    "int4": ml_dtypes.int4,
    "uint2": ml_dtypes.uint2,
    "int2": ml_dtypes.int2,
}

# (operator, a part of the case's text, source, why): where onnxruntime's answer is not taken.
WRAP = "where a result leaves int64 onnxruntime gives the type's end; the reference evaluator's integers wrap"
POWER = "onnxruntime takes powers of integers in float64, and what leaves the type is as the processor has it"
SUMS = "the reference evaluator sums small integers in the input's type, so that the mean is of a wrapped sum"
UNSEEN = "of a key that isn't seen onnxruntime gives out float32's lowest number; the text adds −∞"
GENERATOR = "the text leaves the generator open: it is the reference evaluator's"
LENGTHS = "onnxruntime has no layout 1, and the reference evaluator runs past the ends that sequence_lens gives"
HALVES = "the reference evaluator rounds every product and sum to float16"
SQUARES = "the reference evaluator's result is of 64 bits; ONNX's is of the input's type"
SINGLE = "onnxruntime puts an axis of one element at 1; by the function body it lies at -1, its begin"
NONE = "onnxruntime's mean over no samples is 0; by the function body it is 0 / 0"
ELSEWHERE = [
    *[("AffineGrid", f'("align_corners", Int(1))] [{part}', BY_TEXT, SINGLE)
      for part in ["Floats([2, 2, 3]), Known([2, 1, 1, 4])", "Floats([1, 3, 4]), Known([1, 2, 1, 3, 2])"]],
    ("NegativeLogLikelihoodLoss", "[] [Floats([0, 3])", BY_TEXT, NONE),
    ("ConvTranspose", '("auto_pad", Text("SAME_LOWER")), ("strides", Ints([3, 3]))', REFERENCE,
     "onnxruntime's output is smaller than input_shape * strides, which ONNX's text gives it"),
    ("InstanceNormalization", "[Floats([1, 3, 1, 1])", REFERENCE,
     "onnxruntime takes scale * x + shift, whose parts cancel where x is its own mean"),
    *[(operator, "Range([9]", REFERENCE,
       "onnxruntime's function is off by 1e-4 of its result at -8.6") for operator in ["Sigmoid", "Swish"]],
    *[("MaxUnpool", part, REFERENCE,
       "onnxruntime counts positions in the output's shape; by ONNX's text they are those of a MaxPool, in what"
       " the window's attributes give") for part in ["Known([1, 1, 5, 5])", "Known([1, 1, 3, 3, 4])"]],
    ("MatMulBnb4", '("transB", Int(0))', BY_TEXT,
     "onnxruntime's product is another than A times the matrix [N, K] that its documentation has"),
    ("RotaryEmbedding", "[65536, 65536, 65536, 0]", REFERENCE,
     "onnxruntime goes through 2^48 rows of nothing one by one"),
    *[("Pow", part, BY_TEXT, POWER)
      for part in ["[Wide(", "[Small(I64", "[I32([5]), Range", "[I64([5]), Scalar"]],
    ("Dropout", '("seed", Int(5))', REFERENCE, GENERATOR),
    ("Attention", '("qk_matmul_output_mode", Int(2))', REFERENCE, UNSEEN),
    ("LSTM", '("layout", Int(1))', BY_TEXT, LENGTHS),
    *[(operator, "Drawn(F16", BY_TEXT, HALVES) for operator in ["GRU", "LSTM"]],
    *[("ReduceMean", part, BY_TEXT, SUMS) for part in ["Wide(I8", "Wide(U8", "Wide(U16", "Wide(U32"]],
    *[("ReduceSumSquare", part, BY_TEXT, SQUARES) for part in ["Wide(I8", "Wide(U8", "Wide(U32"]],
    *[(f"Reduce{name}", "Wide(I64", REFERENCE, WRAP) for name in ["L1", "Prod", "Sum", "SumSquare"]],
]

# Operators that onnxruntime lacks in their newest version, which changed types alone: the version asked for.
OLDER = {"GlobalLpPool": 21, "MaxRoiPool": 21, "Multinomial": 21}


def kept(count):
    """Which elements of an output are kept, as tests/expected.rs has it."""
    if count <= KEPT:
        return list(range(count))
    spaced = [FIRST + k * (count - 1 - FIRST) // (KEPT - FIRST - 1) for k in range(KEPT - FIRST)]
    return list(range(FIRST)) + spaced


def array(given):
    dtype = NARROW.get(given["type"], given["type"])
    return numpy.frombuffer(bytes.fromhex(given["bytes"]), dtype=dtype).reshape(given["shape"])


def operand(case, k):
    """An input as an array. An Attention's mask of rank 1, which neither source takes, is given rows, which
    is the same by broadcasting."""
    value = array(case["inputs"][k])
    if case["operator"] == "Attention" and k == 3 and value.ndim == 1:
        value = numpy.tile(value, (case["inputs"][0]["shape"][-2], 1))
    return value


def attribute(name, kind, value):
    """An attribute of a case; one whose kind is an element type is a tensor."""
    # NaN has no form in JSON.
    numbers = [numpy.nan if number is None else number for number in numpy.atleast_1d(value).tolist()]
    value = numbers if isinstance(value, list) else numbers[0]
    if kind in KINDS:
        return helper.make_attribute(name, value, attr_type=KINDS[kind])
    return helper.make_attribute(name, numpy_helper.from_array(numpy.array(value, kind), name))


def model(case):
    """A model of the one node, and what a run gives it."""
    names = [f"x{k}" if given else "" for k, given in enumerate(case["inputs"])]
    while names and not names[-1]:
        names.pop()
    attributes = [attribute(name, *given) for name, given in case["attributes"].items()]
    outputs = [f"y{k}" for k in range(case["outputs"])]
    node = helper.make_node(case["operator"], names, outputs, domain=case["domain"])
    node.attribute.extend(attributes)
    infos, constants, feeds = [], [], {}
    for k, (name, given) in enumerate(zip(names, case["inputs"])):
        if not given:
            continue
        value = operand(case, k)
        if given["constant"]:
            constants.append(numpy_helper.from_array(value, name))
        else:
            dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
            infos.append(helper.make_tensor_value_info(name, dtype, value.shape))
            feeds[name] = value
    unknown = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph([node], "case", infos, unknown, constants)
    # onnxruntime's own operators have one version.
    version = 1 if case["domain"] == "com.microsoft" else OLDER.get(case["operator"], case["version"])
    opset = helper.make_opsetid(case["domain"], version)
    made = helper.make_model(graph, opset_imports=[opset])
    made.ir_version = 10
    return made, feeds


def by_onnxruntime(case):
    made, feeds = model(case)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, ["CPUExecutionProvider"])
    # 8-bit floats come as bytes.
    kinds = [NARROW.get(output.type[7:-1]) for output in session.get_outputs()]
    made = [numpy.asarray(value) for value in session.run(None, feeds)]
    as_kind = lambda value, kind: value.view(kind) if kind and value.dtype == numpy.uint8 else value
    return [as_kind(value, kind) for value, kind in zip(made, kinds)]


def by_reference(case):
    made, feeds = model(case)
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return [numpy.asarray(value) for value in ReferenceEvaluator(made).run(None, feeds)]


def by_text(case):
    inputs = [array(given) if given else None for given in case["inputs"]]
    attributes = {name: value for name, (_, value) in case["attributes"].items()}
    with numpy.errstate(all="ignore"):
        return TEXT[case["operator"]](*inputs, **attributes)


def reason(problem):
    """What a source said, in a line: without positions in its own source."""
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {text}"[:160]


def apart(ours, others):
    """How two answers differ by more than rounding, or None."""
    for k, (x, y) in enumerate(zip(ours, others)):
        if (x.dtype, x.shape) != (y.dtype, y.shape):
            return f"y{k}: {x.dtype}{list(x.shape)} and {y.dtype}{list(y.shape)}"
        if x.dtype.kind == "f":
            same = numpy.isclose(x, y, rtol=1e-4, atol=1e-5, equal_nan=True)
        else:
            same = x == y
        if not numpy.all(same):
            at = numpy.flatnonzero(~numpy.ravel(same))[0]
            return f"y{k}: element {at} is {x.ravel()[at]} and {y.ravel()[at]}"
    return None


def is_small(outputs, case):
    """Whether the reference evaluator, whose loops are Python's, answers within a moment."""
    elements = [numpy.prod(given["shape"]) for given in case["inputs"] if given]
    return sum(elements) < 3000 and sum(value.size for value in outputs) < 600


def answer(case, both, differences):
    """(notes, source, outputs): outputs is None where nothing answers, and source then says why."""
    problems, older = [], OLDER.get(case["operator"])
    notes = [f"onnxruntime was asked for version {older}, after which only types came"] if older else []
    sources = {ORT: by_onnxruntime, REFERENCE: by_reference}
    if case["operator"] in TEXT:
        sources[BY_TEXT] = by_text
    for operator, part, source, why in ELSEWHERE:
        if case["operator"] == operator and part in case["case"]:
            notes, sources = [why], {source: sources[source]}
            break
    for source, ask in sources.items():
        try:
            outputs = ask(case)
        except Exception as problem:  # whatever a source raises, it has no answer
            problems.append(f"{source}: {reason(problem)}")
            continue
        if both and source == ORT and is_small(outputs, case):
            try:
                difference = apart(outputs, by_reference(case))
            except Exception:
                difference = None
            if difference:
                differences.append(f"{case['operator']} {case['case']}: {difference}")
        inputs = [array(given) if given else None for given in case["inputs"]]
        attributes = {name: value for name, (_, value) in case["attributes"].items()}
        return notes, source, with_open(case["operator"], inputs, attributes, outputs)
    return notes, "; ".join(problems), None


def element(value):
    if value is numpy.ma.masked:
        return "*"
    if isinstance(value, (bool, numpy.bool_)):
        return str(int(value))
    if numpy.asarray(value).dtype.kind in "iu":
        return str(int(value))
    text = str(value)
    return text[:-2] if text.endswith(".0") else text


def line(k, value):
    name = next((name for name, dtype in NARROW.items() if value.dtype == dtype), str(value.dtype))
    flat = value.ravel()
    # The narrow types of the package ml_dtypes are numbers of no kind that numpy knows.
    if value.dtype.kind == "V" and "int" in name:
        flat = flat.astype(numpy.int64)
    elif name in NARROW:
        flat = flat.astype(numpy.float32)
    elements = " ".join(element(flat[at]) for at in kept(flat.size))
    shape = ",".join(str(size) for size in value.shape)
    return f"y{k} {name} [{shape}] {elements}".rstrip()


def main():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("operators", nargs="*")
    parser.add_argument("--both", action="store_true")
    given = parser.parse_args()
    by_operator = collections.defaultdict(list)
    for case in json.loads(given.file.read_text()):
        by_operator[case["operator"]].append(case)
    counts, differences, none = collections.Counter(), [], []
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests" / "expected"
    folder.mkdir(exist_ok=True)
    for operator, cases in sorted(by_operator.items()):
        if given.operators and operator not in given.operators:
            continue
        lines = [
            f"# Expected values of {operator}'s cases, written by tools/expected_values.py: its form is",
            "# that of tests/support/expected.rs.",
            f"# onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}, numpy {numpy.__version__}.",
        ]
        for case in cases:
            notes, source, outputs = answer(case, given.both, differences)
            lines += ["", f"case {case['case']}", *[f"note {note}" for note in notes]]
            if outputs is None:
                none.append(f"{operator} {case['case']}: {source}")
                lines.append(f"none {source}")
                counts["none"] += 1
                continue
            counts[source] += 1
            lines += [f"by {source}", f"inputs {case['hash']}", *[line(k, y) for k, y in enumerate(outputs)]]
        (folder / f"{operator}.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(f"onnxruntime and the reference evaluator differ: {text}" for text in differences))
    print("\n".join(f"no answer: {text}" for text in none))
    print(", ".join(f"{count} by {source}" for source, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
