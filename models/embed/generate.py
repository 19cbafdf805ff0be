#!/usr/bin/env python3
"""Makes the tiny encoder of this folder: BERT's shape with seeded random weights, its tokenizer, and the files that
sentence-transformers lays beside a model. expected.json is what sentence-transformers says of some sentences, by
each pooling, with and without normalisation.

    pip install numpy onnx sentence-transformers tokenizers torch transformers && python generate.py

Weights are seeded, but torch's sums may differ from one machine to another.
"""

import json
import tempfile
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as models
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors, trainers
from tokenizers import models as tokenizer_models
from transformers import BertConfig, BertModel, BertTokenizerFast

HERE = Path(__file__).parent
TEXT = """Once upon a time a sardonyx lay on a beach. It had bands of red and white, and it was proud of them. A wave came by
and asked: "Which of your bands is the oldest?" The stone thought for 1,000 years. Then it said: "The one that you wash
away first." The wave laughed and went to Zürich, to 東京 and home again. The end."""
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Of several lengths; the last is longer than the model reads.
SENTENCES = [
    "A wave came by.",
    "The stone thought for 1,000 years, and then it said which of its bands is the oldest.",
    "beach",
    "naïve Zürich 🙂 東京",
    " ".join(["The wave laughed and went home again."] * 8),
]
POOLINGS = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
MOST = 40
FILES = ["modules.json", "sentence_bert_config.json", "1_Pooling/config.json", "tokenizer_config.json"]


def tokenizer():
    made = Tokenizer(tokenizer_models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)
    made.train_from_iterator([TEXT], trainer)
    around = [("[CLS]", made.token_to_id("[CLS]")), ("[SEP]", made.token_to_id("[SEP]"))]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=around
    )
    return made


class Encoder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state


def main():
    torch.manual_seed(0)
    made = tokenizer()
    config = BertConfig(
        vocab_size=made.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        attn_implementation="eager",
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    with tempfile.TemporaryDirectory() as scratch:
        fast = BertTokenizerFast(tokenizer_object=made, model_max_length=64)
        model.save_pretrained(scratch)
        fast.save_pretrained(scratch)
        expected = dict(sentences=SENTENCES)
        for pooling in POOLINGS:
            transformer = models.Transformer(scratch, max_seq_length=MOST)
            pool = models.Pooling(32, pooling_mode=pooling)
            plain = SentenceTransformer(modules=[transformer, pool], device="cpu")
            vectors = plain.encode(SENTENCES, batch_size=8)
            whole = SentenceTransformer(modules=[transformer, pool, models.Normalize()], device="cpu")
            name = pooling.removesuffix("_tokens")
            expected[name] = [[float(x) for x in row] for row in vectors]
            expected[name + "_normalized"] = [
                [float(x) for x in row] for row in whole.encode(SENTENCES, batch_size=8)
            ]
            if pooling == "mean":
                saved = Path(scratch) / "saved"
                whole.save(str(saved))
                for file in FILES:
                    (HERE / file).parent.mkdir(exist_ok=True)
                    (HERE / file).write_text((saved / file).read_text().rstrip() + "\n")
                (HERE / "config.json").write_text((saved / "config.json").read_text().rstrip() + "\n")
    made.save(str(HERE / "tokenizer.json"), pretty=False)
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n")
    encoded = fast(SENTENCES[:2], padding=True, return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "tokens"} for name in [*names, "last_hidden_state"]}
    torch.onnx.export(
        Encoder(model),
        tuple(encoded[name] for name in names),
        str(HERE / "model.onnx"),
        input_names=names,
        output_names=["last_hidden_state"],
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )


if __name__ == "__main__":
    main()
