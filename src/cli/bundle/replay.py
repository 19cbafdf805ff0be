"""Runs this bundle's dispatches on this machine, and compares what they make with what the bundle holds.

    python replay.py [--package wgpu|wgpudawn] [--adapter PART_OF_A_NAME]

It takes numpy and one of the PyPI packages wgpu and wgpudawn. Exit code 0: every element is right; 1: the
difference is there; 2: it can't run here, and says what it takes.
"""
import argparse, importlib, json, pathlib, sys

HERE = pathlib.Path(__file__).resolve().parent
LIMITS = ("max-buffer-size", "max-storage-buffer-binding-size", "max-storage-buffers-per-shader-stage",
          "max-compute-workgroup-storage-size", "max-compute-invocations-per-workgroup", "max-immediate-size")


class Cannot(Exception):
    """Why nothing can be run here."""


def packages(wanted):
    for name in [wanted] if wanted else ["wgpu", "wgpudawn"]:
        try:
            return name, importlib.import_module(name)
        except ImportError:
            pass
    wanted = wanted or "wgpu"
    raise Cannot(f"it takes the Python package {wanted} (wgpudawn does too): pip install numpy {wanted}")


def adapter(package, bundle, wanted):
    found = [a for a in package.gpu.enumerate_adapters_sync() if a.info["backend_type"] != "OpenGL"]
    name = (wanted or bundle["adapter"]).lower()
    match = [a for a in found if name in a.info["device"].lower() or a.info["device"].lower() in name]
    if not match:
        there = ", ".join(a.info["device"] for a in found) or "none"
        raise Cannot(f"it takes the adapter '{wanted or bundle['adapter']}' (the bundle's driver: "
                     f"{bundle['driver']}); here: {there}; --adapter NAME takes another")
    return match[0]


def named(feature, features):
    """A feature's name here: wgpu-native has subgroups under one of its own."""
    return "subgroup" if feature == "subgroups" and "subgroup" in features else feature


def form(dispatch, name, features):
    """The text nearest to what ran that this package and adapter take."""
    needs = []
    for one in dispatch["shaders"]:
        if all(named(f, features) in features for f in one["features"]) and (one["standard"] or name == "wgpu"):
            return one
        needs.append(f"{'WGSL' if one['standard'] else 'wgpu'} with {', '.join(one['features']) or 'no feature'}")
    raise Cannot(f"no text of the kernel '{dispatch['kernel']}' runs through {name} on this adapter; "
                 f"it takes {'; or '.join(needs)}")


def run(bundle, package, name, chosen):
    forms = [form(dispatch, name, chosen.features) for dispatch in bundle["dispatches"]]
    features = sorted({named(feature, chosen.features) for one in forms for feature in one["features"]})
    limits = {limit: chosen.limits[limit] for limit in LIMITS if limit in chosen.limits}
    device = chosen.request_device_sync(required_features=features, required_limits=limits)
    usage, storage = package.BufferUsage, []
    for one in bundle["buffers"]:
        data = bytearray(one["fill"].to_bytes(4, "little") * (one["bytes"] // 4))
        if one["file"]:
            content = (HERE / one["file"]).read_bytes()
            data[:len(content)] = content
        flags = usage.STORAGE | usage.COPY_SRC | usage.COPY_DST
        storage.append(device.create_buffer_with_data(data=data, usage=flags))
    for dispatch, one in zip(bundle["dispatches"], forms):
        text = (HERE / one["file"]).read_text(encoding="utf-8")
        entry = lambda binding, kind: {"binding": binding, "visibility": package.ShaderStage.COMPUTE,
                                       "buffer": {"type": kind}}
        groups = [device.create_bind_group_layout(entries=[
            entry(b["binding"], "read-only-storage" if b["access"] == "read" else "storage")
            for b in dispatch["bindings"]]), device.create_bind_group_layout(entries=[entry(0, "uniform")])]
        table = (HERE / dispatch["immediates"]).read_bytes() if "immediates" in one["features"] else b""
        size = {"immediate_size": len(table)} if table else {}
        layout = device.create_pipeline_layout(bind_group_layouts=groups, **size)
        pipeline = device.create_compute_pipeline(layout=layout, compute={
            "module": device.create_shader_module(code=text), "entry_point": dispatch["entry_point"],
            "constants": dispatch["constants"]})
        block = (HERE / dispatch["params"]).read_bytes()
        params = device.create_buffer_with_data(data=block, usage=usage.UNIFORM)
        bind = lambda at, buffer, size: {"binding": at, "resource": {"buffer": buffer, "offset": 0, "size": size}}
        bound = [device.create_bind_group(layout=groups[0], entries=[
            bind(b["binding"], storage[b["buffer"]], b["bytes"]) for b in dispatch["bindings"]]),
            device.create_bind_group(layout=groups[1], entries=[bind(0, params, len(block))])]
        encoder = device.create_command_encoder()
        work = encoder.begin_compute_pass()
        work.set_pipeline(pipeline)
        for index, group in enumerate(bound):
            work.set_bind_group(index, group)
        if table:
            work.set_immediates(0, table, 0, len(table))
        work.dispatch_workgroups(*dispatch["grid"])
        work.end()
        device.queue.submit([encoder.finish()])
    return device.queue.read_buffer(storage[bundle["result"]["buffer"]]), forms


def main():
    raw = argparse.RawDescriptionHelpFormatter
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    arguments.add_argument("--package", choices=["wgpu", "wgpudawn"])
    arguments.add_argument("--adapter")
    arguments = arguments.parse_args()
    bundle = json.loads((HERE / "dispatch.json").read_text(encoding="utf-8"))
    if bundle["cannot_replay"]:
        raise Cannot(bundle["cannot_replay"])
    name, package = packages(arguments.package)
    import numpy as np
    chosen = adapter(package, bundle, arguments.adapter)
    print(f"{bundle['node']} ({bundle['op']}), value {bundle['output']}, on {chosen.info['device']} "
          f"({chosen.info['description']}) through {name}")
    print(f"recorded on {bundle['adapter']} ({bundle['driver']})")
    raw, forms = run(bundle, package, name, chosen)
    if not all(one["as_run"] for one in forms):
        print("note: not the text that ran, which takes more than there is here; it computes the same")
    result = bundle["result"]
    load = lambda file: np.load(HERE / file)
    got = np.frombuffer(raw, result["stored"])[load(result["positions"]).ravel()]
    wide = lambda x: x if x.dtype.kind in "iu" and x.dtype.itemsize == 8 else x.astype(np.float64)
    right, nearest = np.zeros(got.shape, bool), np.full(got.shape, np.inf)
    with np.errstate(invalid="ignore"):
        for answer in result["answers"]:
            value, limit = load(answer["values"]).ravel(), load(answer["limits"]).ravel()
            off = np.abs(got.astype(np.float64) - value.astype(np.float64))
            same = (wide(got) == value) | (np.isnan(got) & np.isnan(value))
            right |= same | np.isinf(limit) | ((limit > 0) & (off <= limit))
            nearest = np.fmin(nearest, np.where(same, 0, off))
        device = load(result["device"]).ravel()
        bits = np.array_equal(wide(got), device, equal_nan=device.dtype.kind == "f")
        apart = np.abs(got.astype(np.float64) - device.astype(np.float64))
    far = "the same" if bits else f"off by at most {np.nanmax(apart, initial=0):.3e}"
    print(f"against the recorded device: {far}")
    print(f"against the reference: {int((~right).sum())} of {right.size} elements are wrong, "
          f"off by at most {np.nanmax(nearest, initial=0):.3e}")
    print("clean" if right.all() else "different")
    return 0 if right.all() else 1


if __name__ == "__main__":
    try:
        code = main()
    except Cannot as problem:
        print(f"can't run: {problem}", file=sys.stderr)
        code = 2
    except Exception as problem:
        print(f"can't run: {type(problem).__name__}: {' '.join(str(problem).split())}", file=sys.stderr)
        code = 2
    sys.exit(code)
