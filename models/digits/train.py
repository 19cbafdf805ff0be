#!/usr/bin/env python3
"""Trains the digit classifier of this folder and writes all of it anew: digits.onnx, labels.txt and the ten pictures.

Data: scikit-learn's digits (1,797 greyscale pictures of 8x8, values 0..16), split 80 : 20, stratified, by a fixed seed.
The held-back fifth is used for nothing but the accuracy printed at the end and the pictures 0.png to 9.png.

    pip install numpy pillow scikit-learn torch onnx onnxruntime && python train.py

Versions used: numpy 2.4.6, pillow 13.0.0, scikit-learn 1.9.1, torch 2.15.0, onnx 1.23.2, onnxruntime 1.32.0.
Takes a minute on one core. The same versions give the same file.
"""
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).parent
SEED = 7
EPOCHS = 60
BATCH = 64
# Not multiples of 4, so that the padding of channels is exercised wherever this model runs.
NARROW, WIDE = 13, 22


class Digits(nn.Module):
    """Two 3x3 convolutions with a residual around the second, a third one, and a linear layer: 5,300 parameters."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, NARROW, 3, padding=1)
        self.stem_norm = nn.BatchNorm2d(NARROW)
        self.block = nn.Conv2d(NARROW, NARROW, 3, padding=1, bias=False)
        self.block_norm = nn.BatchNorm2d(NARROW)
        self.wide = nn.Conv2d(NARROW, WIDE, 3, padding=1, bias=False)
        self.wide_norm = nn.BatchNorm2d(WIDE)
        self.head = nn.Linear(WIDE * 2 * 2, 10)

    def forward(self, x):
        x = F.relu(self.stem_norm(self.stem(x)))
        x = F.relu(x + self.block_norm(self.block(x)))
        x = F.max_pool2d(x, 2)
        x = F.relu(self.wide_norm(self.wide(x)))
        x = F.max_pool2d(x, 2)
        return self.head(F.dropout(x.flatten(1), 0.2, self.training))


def picture(image):
    """0..16 at 8x8 to 0..255 at 64x64: what a user's picture of a digit might be, so that resizing has work to do."""
    levels = np.rint(image[0].numpy() * (255 / 16)).astype(np.uint8)
    return Image.fromarray(levels).resize((64, 64), Image.Resampling.BICUBIC)


def preprocessed(picture):
    """What digits.toml says: any size to 8x8, 0..255 to 0..16."""
    return torch.tensor(np.asarray(picture.resize((8, 8), Image.Resampling.BILINEAR), np.float32)).unsqueeze(0) / 255 * 16


def shifted(images):
    """Each picture moved by -1, 0 or 1 pixels either way."""
    padded = F.pad(images, (1, 1, 1, 1))
    down, right = torch.randint(0, 3, (2, len(images)))
    return torch.stack([image[:, y : y + 8, x : x + 8] for image, y, x in zip(padded, down, right)])


def train(images, labels):
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = Digits()
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        for part in torch.randperm(len(images)).split(BATCH):
            loss = F.cross_entropy(model(shifted(images[part])), labels[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def to_onnx(model):
    """The graph by hand rather than by an exporter: readable names, and BatchNormalization left as it is."""
    constants, nodes = [], []

    def constant(name, tensor):
        constants.append(numpy_helper.from_array(tensor.detach().numpy(), name))
        return name

    def node(op, name, *inputs, **attributes):
        nodes.append(helper.make_node(op, inputs, [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def conv(name, x):
        layer, norm = getattr(model, name), getattr(model, f"{name}_norm")
        weights = [constant(f"{name}.weight", layer.weight)]
        if layer.bias is not None:
            weights.append(constant(f"{name}.bias", layer.bias))
        x = node("Conv", f"{name}_conv", x, *weights, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        statistics = {"scale": norm.weight, "shift": norm.bias, "mean": norm.running_mean, "variance": norm.running_var}
        statistics = [constant(f"{name}.{part}", tensor) for part, tensor in statistics.items()]
        return node("BatchNormalization", f"{name}_norm", x, *statistics, epsilon=norm.eps)

    def pool(name, x):
        return node("MaxPool", name, x, kernel_shape=[2, 2], strides=[2, 2])

    x = node("Relu", "stem_relu", conv("stem", "image"))
    x = node("Relu", "block_relu", node("Add", "block_add", conv("block", x), x))
    x = pool("pool_4x4", x)
    x = node("Relu", "wide_relu", conv("wide", x))
    x = pool("pool_2x2", x)
    x = node("Flatten", "flatten", x, axis=1)
    weight, bias = constant("head.weight", model.head.weight), constant("head.bias", model.head.bias)
    x = node("Gemm", "head", x, weight, bias, transB=1)
    nodes.append(helper.make_node("Softmax", [x], ["probabilities"], name="softmax", axis=-1))

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "digits", [image], [probabilities], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="train.py")
    onnx.checker.check_model(made, full_check=True)
    return made


def main():
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1)
    labels = torch.tensor(data.target)
    here, held_back = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=data.target, random_state=SEED)
    # Every picture twice: as it is, and by way of 64x64 and back, which blurs it.
    pictures = [picture(image) for image in images]
    resized = torch.stack([preprocessed(one) for one in pictures])
    model = train(torch.cat([images[here], resized[here]]), torch.cat([labels[here]] * 2))

    onnx.save(to_onnx(model), HERE / "digits.onnx")
    (HERE / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    session = onnxruntime.InferenceSession(HERE / "digits.onnx", providers=["CPUExecutionProvider"])

    def run(pixels):
        return session.run(None, {"image": pixels.numpy()})[0]

    count = len(held_back)
    for name, form in [("8x8", images), ("64x64 resized", resized)]:
        right = (run(form[held_back]).argmax(1) == labels[held_back].numpy()).sum()
        print(f"held back, {name}: {right} of {count} right, {100 * right / count:.2f} %")

    # Samples to try it on: the first held-back picture of each digit that it gets right.
    chosen = run(resized).argmax(1)
    for digit in range(10):
        first = next(index for index in held_back if labels[index] == digit == chosen[index])
        pictures[first].save(HERE / f"{digit}.png", optimize=True)
        probabilities = run(resized[first : first + 1])[0]
        print(f"{digit}.png: {probabilities.argmax()} with {probabilities.max():.4f}")


if __name__ == "__main__":
    main()
