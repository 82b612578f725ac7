"""Small CLIPs of random weights in the layouts of other libraries: real patches and heads, widths of a toy."""

import json

import torch
from safetensors.torch import save_file

MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]


def write_words(folder, words, fast=True):
    """The tokenizer's files: tokenizer.json as transformers saves it, or the older pair of files."""
    vocabulary, merges = words
    if fast:
        from transformers import CLIPTokenizerFast

        CLIPTokenizerFast(vocab=vocabulary, merges=merges).save_pretrained(folder)
        return
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))


def scramble(module, seed=0):
    """Weights as different from one another as a trained network's, so that nothing can hide behind zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            spread = 0.3 if parameter.dim() < 2 else 2 * parameter.shape[-1] ** -0.5
            norm = ("norm" in name or "ln_" in name) and name.endswith("weight")
            centre = 1.0 if norm else 0.0
            parameter.copy_(centre + spread * torch.randn(parameter.shape, generator=generator))
    module.logit_scale.data.fill_(3.0)
    return module.eval()


SHAPES = {
    "B/32": {"size": 224, "patch": 32, "width": 48, "heads": 12, "text_heads": 8, "text_width": 32},
    "L/14": {"size": 224, "patch": 14, "width": 64, "heads": 16, "text_heads": 12, "text_width": 48},
}
"""Picture, patches and heads of the published models; widths and depths of a toy."""


def huggingface_clip(words, shape="B/32", legacy=False, activation="quick_gelu"):
    from transformers import CLIPConfig, CLIPModel

    s = SHAPES[shape]
    end = words[0]["<|endoftext|>"]
    shared = {"num_hidden_layers": 2, "hidden_act": activation}
    text = shared | {
        "vocab_size": len(words[0]),
        "hidden_size": s["text_width"],
        "num_attention_heads": s["text_heads"],
        "intermediate_size": 4 * s["text_width"],
        "eos_token_id": 2 if legacy else end,
        "bos_token_id": end - 1,
    }
    vision = shared | {
        "image_size": s["size"],
        "patch_size": s["patch"],
        "hidden_size": s["width"],
        "num_attention_heads": s["heads"],
        "intermediate_size": 3 * s["width"],
    }
    return scramble(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=40)))


def write_huggingface(folder, words, fast=True, shards=False, **kind):
    model = huggingface_clip(words, **kind)
    model.save_pretrained(folder, max_shard_size="60KB" if shards else "5GB")
    said = {"image_mean": MEAN, "image_std": STD, "size": {"shortest_edge": 224}, "crop_size": 224, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    write_words(folder, words, fast)
    return model


def write_openclip(folder, open_clip, words, shape="B/32", custom=False, quick=False, bias=None, pool="argmax"):
    s = SHAPES[shape]
    config = {
        "embed_dim": 40,
        "quick_gelu": quick,
        "vision_cfg": {
            "image_size": s["size"],
            "layers": 2,
            "width": s["width"],
            "head_width": s["width"] // s["heads"],
            "patch_size": s["patch"],
            "mlp_ratio": 3.0,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": len(words[0]),
            "width": s["text_width"],
            "heads": s["text_heads"],
            "layers": 2,
        },
    }
    if pool == "eos":
        config["text_cfg"] |= {"pool_type": "eos", "eos_id": words[0]["<|endoftext|>"]}
    if bias is not None:
        config["init_logit_bias"] = bias
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    model = scramble(kind(**config))
    if custom:
        config["custom_text"] = True
    if bias is not None:
        model.logit_bias.data.fill_(bias)
    said = {"model_cfg": config, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(said))
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    write_words(folder, words)
    return model
