"""Arithmetic from ONNX's text for cases that neither onnxruntime nor the reference evaluator answers, and
which elements of an answer the text leaves open. tools/expected_values.py uses it.

A function takes a node's inputs (None: left out) and its attributes, and gives the outputs; elements that it
masks are open.
"""
import decimal
import math

import numpy

decimal.getcontext().prec = 80


def wrapped(number, dtype):
    """An integer taken into a type as two's complement does, which is what numpy's integers do."""
    bits = 8 * dtype.itemsize
    number %= 1 << bits
    return number - (1 << bits) if dtype.kind == "i" and number >> (bits - 1) else number


def each(function, x, *others):
    """A function of exact numbers, element by element: what it gives as None is open."""
    spread = numpy.broadcast_arrays(x, *others)
    results = [function(*numbers) for numbers in zip(*(part.ravel().tolist() for part in spread))]
    numbers = numpy.array([wrapped(number or 0, x.dtype) for number in results], x.dtype)
    open_ = numpy.array([number is None for number in results], bool)
    return numpy.ma.masked_array(numbers.reshape(spread[0].shape), open_.reshape(spread[0].shape))


def power(x, exponent):
    """Integers to integers exactly, then wrapped; what is no whole number is truncated. Integers to floats by
    80 digits, rounded to float64 and truncated; open where there is no power or the type doesn't hold it."""
    ends = numpy.iinfo(x.dtype)

    def of(base, to):
        if base == 0 and to < 0:
            return None
        if isinstance(to, int) and to < 0:
            return {1: 1, -1: 1 - 2 * (to % 2)}.get(base, 0)
        if isinstance(to, int):
            return pow(base, to, 1 << 64)
        if base < 0 and to != int(to):
            return None
        number = int(float(decimal.Decimal(base) ** decimal.Decimal(to)))
        return number if ends.min <= number <= ends.max else None

    return [each(of, x, exponent)]


def reduce(of):
    """Reductions of integers: exact, then wrapped; the output's type is the input's."""

    def reduced(x, axes=None, keepdims=1):
        axes = range(x.ndim) if axes is None else axes
        axes = sorted(int(axis) % x.ndim for axis in axes)
        left = [axis for axis in range(x.ndim) if axis not in axes]
        rows = x.transpose(left + axes).reshape([x.shape[axis] for axis in left] + [-1])
        results = [wrapped(of(row.tolist()), x.dtype) for row in rows.reshape(-1, rows.shape[-1])]
        shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        shape = shape if keepdims else [x.shape[axis] for axis in left]
        return [numpy.array(results, x.dtype).reshape(shape)]

    return reduced


def mean(row):
    """Truncated towards 0, as a division of integers is."""
    total = abs(sum(row)) // len(row)
    return -total if sum(row) < 0 else total


def one_hot(indices, depth, values, axis=-1):
    depth = int(depth.ravel()[0])
    indices = indices.astype(numpy.int64)
    places = numpy.where(indices < 0, indices + depth, indices)
    on = numpy.expand_dims(places, axis if axis >= 0 else indices.ndim + 1 + axis)
    counted = [1] * on.ndim
    counted[axis] = depth
    hot = (on == numpy.arange(depth).reshape(counted)) & (on >= 0)
    return [numpy.where(hot, values[1], values[0])]


def cum_sum(x, axis, exclusive=0, reverse=0):
    axis = int(axis.ravel()[0]) % x.ndim
    ordered = numpy.flip(x, axis) if reverse else x
    sums = numpy.cumsum(ordered, axis, dtype=x.dtype)
    sums = sums - ordered if exclusive else sums
    return [numpy.flip(sums, axis) if reverse else sums]


def lrn(x, size, alpha=1e-4, beta=0.75, bias=1.0):
    wide, channels = x.astype(numpy.float64), x.shape[1]
    y = numpy.empty_like(wide)
    for c in range(channels):
        first, last = max(0, c - (size - 1) // 2), min(channels - 1, c + math.ceil((size - 1) / 2))
        squares = (wide[:, first : last + 1] ** 2).sum(axis=1)
        y[:, c] = wide[:, c] / (bias + alpha / size * squares) ** beta
    return [y.astype(x.dtype)]


def aligned(of):
    """A binary operator before version 7: the second input begins at an axis of the first."""

    def applied(a, b, axis=None, broadcast=0):
        if axis is not None and b.size > 1:
            b = b.reshape(b.shape + (1,) * (a.ndim - axis - b.ndim))
        return [of(a, b if b.size > 1 else b.ravel()[0])]

    return applied


def prelu(x, slope):
    slope = slope.ravel()[0] if slope.size == 1 else slope.reshape((-1,) + (1,) * (x.ndim - 2))
    return [numpy.where(x < 0, slope * x, x)]


def batch_norm(x, scale, bias, mean, variance, epsilon=1e-5, spatial=1):
    wide = [part.astype(numpy.float64) for part in (x, scale, bias, mean, variance)]
    if spatial:
        wide[1:] = [part.reshape((-1,) + (1,) * (x.ndim - 2)) for part in wide[1:]]
    x_, scale, bias, mean, variance = wide
    return [((x_ - mean) / numpy.sqrt(variance + epsilon) * scale + bias).astype(x.dtype)]


ACTIVATIONS = {
    "Relu": lambda x, a, b: numpy.maximum(x, 0),
    "Tanh": lambda x, a, b: numpy.tanh(x),
    "Sigmoid": lambda x, a, b: 1 / (1 + numpy.exp(-x)),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, b: numpy.where(x >= 0, x, a * x),
    "ThresholdedRelu": lambda x, a, b: numpy.where(x >= a, x, 0),
    "ScaledTanh": lambda x, a, b: a * numpy.tanh(b * x),
    "HardSigmoid": lambda x, a, b: numpy.minimum(numpy.maximum(a * x + b, 0), 1),
    "Elu": lambda x, a, b: numpy.where(x >= 0, x, a * (numpy.exp(x) - 1)),
    "Softsign": lambda x, a, b: x / (1 + abs(x)),
    "Softplus": lambda x, a, b: numpy.log(1 + numpy.exp(x)),
}
DEFAULTS = {"LeakyRelu": (0.01, 0), "ThresholdedRelu": (1, 0), "HardSigmoid": (0.2, 0.5), "Elu": (1, 0)}


def recurrent(kind, count, names):
    """RNN, GRU and LSTM by their equations, sequence by sequence, in float64."""

    def run(x, w, r, b=None, lengths=None, h0=None, c0=None, p=None, **attributes):
        get, dtype = attributes.get, x.dtype
        x, w, r, b, h0, c0, p = (None if v is None else v.astype(numpy.float64) for v in (x, w, r, b, h0, c0, p))
        if get("layout", 0):
            x, h0, c0 = (None if v is None else numpy.swapaxes(v, 0, 1) for v in (x, h0, c0))
        (steps, batch, _), directions, hidden = x.shape, w.shape[0], r.shape[2]
        alphas, betas = iter(get("activation_alpha", [])), iter(get("activation_beta", []))
        functions = []
        for name in get("activations", names * directions):
            alpha, beta = DEFAULTS.get(name, (1, 0 if name == "Affine" else 1))
            if name in ("Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu"):
                alpha = next(alphas, alpha)
            if name in ("Affine", "ScaledTanh", "HardSigmoid"):
                beta = next(betas, beta)
            functions.append(lambda v, of=ACTIVATIONS[name], a=alpha, b_=beta: of(v, a, b_))
        clip = get("clip", 0)
        bound = (lambda v: numpy.clip(v, -clip, clip)) if clip else (lambda v: v)
        y = numpy.zeros((steps, directions, batch, hidden))
        last = numpy.zeros((2, directions, batch, hidden))
        for d in range(directions):
            f, g, out = (functions[d * len(names):] + [None, None])[:3]
            # As onnxruntime has it, an LSTM's cell isn't clipped before the last of them.
            f, g = (of and (lambda v, of=of: of(bound(v))) for of in (f, g))
            gate = lambda m, k: m[d].reshape(count, hidden, -1)[k]
            bias = numpy.zeros(2 * count * hidden) if b is None else b[d]
            wb, rb = bias.reshape(2, count, hidden)
            peep = numpy.zeros((3, hidden)) if p is None else p[d].reshape(3, hidden)
            reverse = get("direction", "forward") == "reverse" or d == 1
            for n in range(batch):
                h = numpy.zeros(hidden) if h0 is None else h0[d, n]
                c = numpy.zeros(hidden) if c0 is None else c0[d, n]
                length = steps if lengths is None else int(lengths[n])
                for t in reversed(range(length)) if reverse else range(length):
                    of_x = lambda k: gate(w, k) @ x[t, n] + wb[k]
                    of_h = lambda k, v: gate(r, k) @ v + rb[k]
                    if kind == "RNN":
                        h = f(of_x(0) + of_h(0, h))
                    elif kind == "GRU":
                        z, reset = f(of_x(0) + of_h(0, h)), f(of_x(1) + of_h(1, h))
                        if get("linear_before_reset", 0):
                            new = g(of_x(2) + reset * of_h(2, h))
                        else:
                            new = g(of_x(2) + of_h(2, reset * h))
                        h = (1 - z) * new + z * h
                    else:
                        i = f(of_x(0) + of_h(0, h) + peep[0] * c)
                        forget = 1 - i if get("input_forget", 0) else f(of_x(2) + of_h(2, h) + peep[2] * c)
                        c = forget * c + i * g(of_x(3) + of_h(3, h))
                        h = f(of_x(1) + of_h(1, h) + peep[1] * c) * out(c)
                    y[t, d, n] = h
                last[:, d, n] = h, c
        made = [y, last[0], last[1]][: 3 if kind == "LSTM" else 2]
        if get("layout", 0):
            made = [y.transpose(2, 0, 1, 3), *(numpy.swapaxes(v, 0, 1) for v in made[1:])]
        return [v.astype(dtype) for v in made]

    return run


def matmul_integer(a, b, a_zero=0, b_zero=0):
    a, b, a_zero, b_zero = (numpy.asarray(v).astype(numpy.int64) for v in (a, b, a_zero, b_zero))
    a_zero = a_zero.reshape(-1, 1) if a_zero.ndim == 1 else a_zero
    return [((a - a_zero) @ (b - b_zero)).astype(numpy.int32)]


def upsample(x, height_scale, width_scale, mode="nearest"):
    """Version 1: k of the output lies at k / scale of the input."""
    y = x.astype(numpy.float64)
    for axis, scale in ((2, height_scale), (3, width_scale)):
        size = x.shape[axis]
        at = numpy.arange(int(size * scale)) / scale
        low = numpy.floor(at).astype(numpy.int64)
        share = (at - low if mode == "bilinear" else numpy.zeros(at.shape)).reshape([-1] + [1] * (3 - axis))
        high = numpy.minimum(low + 1, size - 1)
        y = y.take(low, axis) * (1 - share) + y.take(high, axis) * share
    return [y.astype(x.dtype)]


def affine_grid(theta, size, align_corners=0):
    """An axis of one element lies where an axis begins, as the function body has it for the depth."""
    sizes = [int(n) for n in size[2:]]
    step = [2 / max(n - 1, 1) if align_corners else 2 / n for n in sizes]
    lines = [-1 + (0 if align_corners else s / 2) + s * numpy.arange(n) for n, s in zip(sizes, step)]
    # The innermost axis comes first.
    places = numpy.stack([*numpy.meshgrid(*lines, indexing="ij")[::-1], numpy.ones(sizes)], axis=-1)
    return [numpy.einsum("...k,nrk->n...r", places, theta.astype(numpy.float64)).astype(theta.dtype)]


def negative_log_likelihood(x, labels, weights=None, reduction="mean", ignore_index=None):
    """Of samples `[n]`: a mean over none is 0 / 0."""
    counts = numpy.array([label != ignore_index for label in labels], bool)
    shares = numpy.where(counts, 1.0 if weights is None else weights[labels], 0.0)
    losses = -x[numpy.arange(len(labels)), labels] * shares
    total = losses if reduction == "none" else losses.sum()
    return [numpy.asarray(total / shares.sum() if reduction == "mean" else total).astype(x.dtype)]


def codes(bytes_, bits, count):
    """Numbers that rows of bytes hold, the lowest bits first; `count` of each row."""
    parts = [(bytes_ >> (at * bits)) & ((1 << bits) - 1) for at in range(8 // bits)]
    return numpy.stack(parts, -1).reshape(*bytes_.shape[:-1], -1)[..., :count]


def matmul_nbits(a, b, scales, zeros=None, groups=None, bias=None, *, K, N, block_size, bits=4):
    """onnxruntime's documentation: (B - zero point) * scale by blocks of a column, and the product in float64."""
    blocks = -(-K // block_size)
    levels = codes(b.reshape(N, -1), bits, K).astype(numpy.float64)
    if zeros is None:
        zeros = numpy.full((N, blocks), 1 << (bits - 1))
    elif zeros.dtype == numpy.uint8:
        zeros = codes(zeros.reshape(N, -1), bits, blocks)
    of = numpy.arange(K) // block_size if groups is None else groups[:K]
    wide = lambda values: values.astype(numpy.float64).reshape(N, blocks)[:, of]
    made = a.astype(numpy.float64) @ ((levels - wide(zeros)) * wide(scales)).T
    made = made if bias is None else made + bias.astype(numpy.float64)
    return [made.astype(a.dtype)]


NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
       -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
       0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]
FP4 = [0.0, 1 / 192, 2 / 3, 1.0, 1 / 3, 1 / 2, 1 / 6, 1 / 4]


def matmul_bnb4(a, b, absmax, *, K, N, block_size, quant_type, transB=1, training_mode=0):
    """onnxruntime's documentation: levels times their block's absmax, the even one in the high bits."""
    table = numpy.array(NF4 if quant_type else FP4 + [-x for x in FP4])
    flat = table[numpy.stack([b >> 4, b & 15], -1).ravel()[: K * N]]
    weights = (flat * absmax.astype(numpy.float64)[numpy.arange(K * N) // block_size]).reshape(N, K)
    return [(a.astype(numpy.float64) @ (weights.T if transB else weights)).astype(a.dtype)]


def gather_block_quantized(data, indices, scales, zeros=None, *, block_size, gather_axis, quantize_axis,
                           bits=4):
    """onnxruntime's documentation: the table's numbers, then the slices that the indices name."""
    packed = data.dtype == numpy.uint8
    numbers = lambda table, last: (codes(table, bits, last) if packed else table).astype(numpy.float64)
    levels = numbers(data, None)
    default = 1 << (bits - 1) if packed else 0
    zeros = numpy.float64(default) if zeros is None else numbers(zeros, scales.shape[-1])
    of = numpy.arange(levels.shape[quantize_axis]) // block_size
    take = lambda values: values if values.ndim == 0 else values.take(of, quantize_axis)
    table = (levels - take(zeros)) * take(scales.astype(numpy.float64))
    return [table.take(indices, gather_axis).astype(scales.dtype)]


TEXT = {
    "Add": aligned(lambda a, b: a + b),
    "AffineGrid": affine_grid,
    "And": aligned(numpy.logical_and),
    "BatchNormalization": batch_norm,
    "GatherBlockQuantized": gather_block_quantized,
    "GRU": recurrent("GRU", 3, ["Sigmoid", "Tanh"]),
    "LSTM": recurrent("LSTM", 4, ["Sigmoid", "Tanh", "Tanh"]),
    "MatMulBnb4": matmul_bnb4,
    "MatMulInteger": matmul_integer,
    "MatMulNBits": matmul_nbits,
    "NegativeLogLikelihoodLoss": negative_log_likelihood,
    "PRelu": prelu,
    "RNN": recurrent("RNN", 1, ["Tanh"]),
    "CumSum": cum_sum,
    "LRN": lrn,
    "OneHot": one_hot,
    "Pow": power,
    "ReduceMean": reduce(mean),
    "ReduceSumSquare": reduce(lambda row: sum(x * x for x in row)),
    "Upsample": upsample,
}


def beyond(x, to):
    """Floats that an integer type doesn't hold: "undefined if OOR" in Cast's text."""
    bits = int("".join(filter(str.isdigit, to.name)) or 0)
    low, high = (0, 1 << bits) if to.name.startswith("u") else (-(1 << (bits - 1)), 1 << (bits - 1))
    whole = numpy.trunc(x.astype(numpy.float64))
    return ~((whole >= low) & (whole < high))


def drawn(operator, inputs, attributes, shape):
    """Which elements of an output are drawn at random: the others are certain."""
    if operator.startswith("RandomNormal"):
        return numpy.full(shape, attributes.get("scale", 1.0) != 0)
    if operator.startswith("RandomUniform"):
        return numpy.full(shape, attributes.get("low", 0.0) != attributes.get("high", 1.0))
    if operator == "Bernoulli":
        return (inputs[0] > 0) & (inputs[0] < 1)
    if operator == "Multinomial":
        possible = numpy.exp(inputs[0] - inputs[0].max(axis=1, keepdims=True)) > 0
        return numpy.broadcast_to(possible.sum(axis=1, keepdims=True) > 1, shape)
    return None


def with_open(operator, inputs, attributes, outputs):
    """The outputs with what the text leaves open masked."""
    if operator in ("Cast", "CastLike") and inputs[0].dtype.kind == "f" and "int" in outputs[0].dtype.name:
        return [numpy.ma.masked_array(outputs[0], beyond(inputs[0], outputs[0].dtype))]
    if (random := drawn(operator, inputs, attributes, outputs[0].shape)) is not None:
        return [numpy.ma.masked_array(outputs[0], random)]
    return outputs
