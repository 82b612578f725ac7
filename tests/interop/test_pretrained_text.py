"""Text encoders of `transformers`: the same vectors, in one file with the model, and no code of others."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unstir
from unstir.errors import UserError
from unstir.interop.pretrained_text import load_text_encoder
from unstir.models.cascade import Cascade
from unstir.models.generative import final
from unstir.models.pretrained_text import PretrainedText
from unstir.settings import CascadeSettings
from unstir.text.tokenizer import TooLong
from unstir.weights.model_file import load_model, save_model

sys.path.insert(0, str(Path(__file__).parent.parent))
from tiny_recipes import RECIPES

transformers = pytest.importorskip("transformers")

TEXTS = ["a red disc", "a blue box", ""]


def _tokenizer(kind):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    if kind == "t5":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=60, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
        )
        names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        around, special = "$A </s>", ["</s>"]
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=60, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]"], show_progress=False
        )
        names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
        around, special = "[CLS] $A [SEP]", ["[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(["a red disc", "a blue box", "two things"] * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[(token, tokenizer.token_to_id(token)) for token in special]
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _saved(folder, kind):
    """A tiny model with random weights, whole as its authors publish it: of T5 also the decoder."""
    tokenizer = _tokenizer(kind)
    torch.manual_seed(0)
    if kind == "t5":
        config = transformers.T5Config(
            vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
        )
        model = transformers.T5ForConditionalGeneration(config)
    else:
        config = transformers.BertConfig(
            vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
            max_position_embeddings=40, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        model = transformers.BertModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["t5", "bert"])
def folder(request, tmp_path_factory):
    return _saved(tmp_path_factory.mktemp("encoders") / request.param, request.param)


@pytest.mark.usefixtures("_offline")
def test_vectors_are_those_of_transformers(folder):
    ours = load_text_encoder(folder)
    theirs = transformers.AutoModelForTextEncoding.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        vectors, real = ours.token_vectors(ours.tokenize([text]))
        inputs = tokenizer(text, return_tensors="pt")
        assert ours.tokenize([text])[0][real[0]].tolist() == inputs["input_ids"][0].tolist()
        with torch.no_grad():
            wanted = theirs(**{k: inputs[k] for k in ("input_ids", "attention_mask")}).last_hidden_state[0]
        torch.testing.assert_close(vectors[0][real[0]], wanted, atol=2e-5, rtol=1e-5)
    unit = ours.embed_words(TEXTS)
    assert unit.shape == (3, 32)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(3))


@pytest.fixture
def _offline(monkeypatch):
    """No connection can be made."""
    import socket

    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def cascade_with(encoder):
    recipe = RECIPES["cascade"]()
    config = recipe.model.with_encoder(encoder.config).for_tokens(9)
    made = Cascade(config, encoder.tokenizer)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.stages.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    made.adopt(encoder)
    return made.eval()


def test_one_file_holds_the_text_encoder(folder, tmp_path):
    encoder = load_text_encoder(folder)
    model = cascade_with(encoder)
    assert model.config.encoder.length == 32
    path = tmp_path / "cascade.safetensors"
    save_model(path, model, dtype=torch.float32)
    loaded = load_model(path, dtype=torch.float32).model
    assert isinstance(loaded.encoder, PretrainedText)
    assert torch.equal(loaded.encode_pooled(TEXTS), encoder.embed_words(TEXTS))
    settings = CascadeSettings(steps=2, enlarging_steps=2)
    pictures = [final(m.draw(TEXTS[:2], [1, 2], settings)) for m in (model, loaded)]
    assert (pictures[0] == pictures[1]).all()
    alone = final(loaded.draw(TEXTS[1:2], [2], settings))
    assert (alone[0] == pictures[0][1]).all()


def test_weights_used_twice_are_stored_once(tmp_path):
    encoder = load_text_encoder(_saved(tmp_path / "t5", "t5"))
    names = [name for name in encoder.state_dict() if "embed_tokens" in name or "shared" in name]
    assert names == ["network.shared.weight"]


def test_limits(tmp_path):
    encoder = load_text_encoder(_saved(tmp_path / "bert", "bert"))
    assert encoder.config.longest == 40
    config = RECIPES["cascade"]().model.with_encoder(encoder.config)
    assert config.for_tokens(33).encoder.length == 40
    with pytest.raises(ValueError, match="reads 40 tokens"):
        config.for_tokens(41)
    with pytest.raises(TooLong, match="shorten it"):
        encoder.tokenize(["a red disc " * 40])


def test_what_cannot_be_loaded(folder, tmp_path):
    def changed(name, change):
        copy = tmp_path / name
        shutil.copytree(folder, copy)
        change(copy)
        return copy

    def set_values(**values):
        def change(copy):
            path = copy / "config.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

        return change

    def pickled(copy):
        (copy / "model.safetensors").rename(copy / "pytorch_model.bin")

    cases = [
        (lambda copy: (copy / "config.json").unlink(), "no config.json"),
        (pickled, "pickle"),
        (lambda copy: (copy / "model.safetensors").unlink(), "no weights"),
        (set_values(auto_map={"AutoModel": "theirs.Model"}), "code of its own"),
        (set_values(model_type="gpt2"), "no text encoder that unstir can read"),
        (set_values(vocab_size=8), "no text encoder that unstir can read"),
        (lambda copy: (copy / "tokenizer.json").unlink(), "no text encoder that unstir can read"),
    ]
    for number, (change, words) in enumerate(cases):
        with pytest.raises(UserError, match=words):
            load_text_encoder(changed(f"case{number}", change))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Sixteen small captioned pictures."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        colour, shape = ("red", "blue")[i % 2], ("disc", "box")[i // 2 % 2]
        Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
        (folder / f"{i:02}.txt").write_text(f"a {colour} {shape}")
    return folder


def test_a_cascade_is_trained_on_it(tmp_path, pictures):
    folder = _saved(tmp_path / "t5", "t5")
    run = tmp_path / "run"
    model = unstir.train(pictures, run, recipe=RECIPES["cascade"](), stages={"text-encoder": folder})
    shutil.rmtree(folder)  # the file holds everything
    assert model.draw("a red disc", seed=1)[0].size == (8, 8)
    assert not (run / "stages").exists()
    again = unstir.load(run)
    assert again.draw("a blue box", seed=2)[0].tobytes() == model.draw("a blue box", seed=2)[0].tobytes()
    with pytest.raises(UserError, match="omit one"):
        unstir.train(
            pictures,
            tmp_path / "both",
            kind="cascade",
            stages={"text-encoder": folder, "clip": "icons"},
        )


def test_another_kind_has_no_use_for_it(tmp_path, pictures):
    with pytest.raises(UserError, match="not built on"):
        unstir.train(pictures, tmp_path / "run", kind="vae", stages={"text-encoder": tmp_path})


def test_a_description_of_another_architecture_is_refused():
    from unstir.models.pretrained_text import PretrainedTextConfig
    from unstir.text.clip_tokenizer import tokenizer_of
    from unstir.text.tokenizer import Tokenizer

    tokenizer = tokenizer_of(Tokenizer.train(["a"]).json)
    for architecture in ('{"model_type": "nothing"}', "{}", '{"model_type": "gpt2"}'):
        with pytest.raises(ValueError, match=r"text encoder|nothing|GPT2|Unrecognized"):
            PretrainedText(PretrainedTextConfig(architecture, 32), tokenizer)
    with pytest.raises(ValueError, match="reads 40"):
        PretrainedTextConfig("{}", 32, length=64, longest=40)
