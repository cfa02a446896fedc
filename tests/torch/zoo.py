"""Real models that nobody here wrote, small, with random weights: one row a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from torch import nn

VOCABULARY = 100
SIZE: dict[str, Any] = {
    "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
    "intermediate_size": 128, "vocab_size": VOCABULARY,
}  # fmt: skip
CODER: dict[str, Any] = {
    "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128,
}  # fmt: skip
IMAGE: dict[str, Any] = {"image_size": 32, "patch_size": 8}
START_END: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


@dataclass(frozen=True)
class Row:
    """How to build a model, and what is particular about it.

    Attributes:
        make: builds it, at whatever device is current.
        inputs: what to call it with; None where the model says it itself.
        vocabulary: of a language model.
        drawn: what the plan keeps although the model draws it at random, so that on meta it can
            only be drawn anew.
        lost: what torch.device("meta") leaves without a value that anything could recreate.
        guessed: what is planned from an author's value (a gain of zero) that torch.device("meta")
            does not have while the model is read.
    """

    make: Callable[[], nn.Module]
    inputs: Callable[[], Any] = lambda: None
    vocabulary: int | None = None
    drawn: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    guessed: tuple[str, ...] = ()


def language_model(build: Callable[[], nn.Module], **more: Any) -> Row:
    return Row(build, vocabulary=VOCABULARY, **more)


def noise(*shapes: tuple[int, ...]) -> Callable[[], tuple[torch.Tensor, ...]]:
    def draw() -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(0)
        return tuple(torch.randn(shape, generator=generator) for shape in shapes)

    return draw


def detr() -> nn.Module:
    backbone = hf.ResNetConfig(
        depths=[1, 1], hidden_sizes=[32, 64], embedding_size=16, out_features=["stage2"]
    )
    config = hf.DetrConfig(
        **CODER, use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config=backbone, num_queries=10,
    )  # fmt: skip
    return hf.DetrForObjectDetection(config)


def clip() -> nn.Module:
    vision = {k: v for k, v in SIZE.items() if k != "vocab_size"}
    text = {**SIZE, "eos_token_id": 2}
    return hf.CLIPModel(
        hf.CLIPConfig(text_config=text, vision_config={**vision, **IMAGE}, projection_dim=32)
    )


def wav2vec2() -> nn.Module:
    config = hf.Wav2Vec2Config(
        **SIZE, conv_dim=(32,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4
    )
    return hf.Wav2Vec2ForCTC(config)


def segformer() -> nn.Module:
    config = hf.SegformerConfig(
        image_size=32, depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 32, 64], decoder_hidden_size=32,
        num_attention_heads=[1, 2, 2, 4],
    )  # fmt: skip
    return hf.SegformerForSemanticSegmentation(config)


ZOO: dict[str, Row] = {
    "GPT2": language_model(
        lambda: hf.GPT2LMHeadModel(
            hf.GPT2Config(n_layer=2, n_embd=64, n_head=4, vocab_size=VOCABULARY)
        )
    ),
    "Llama": language_model(
        lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZE, num_key_value_heads=2))
    ),
    "Mixtral": language_model(
        lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**SIZE, num_key_value_heads=2))
    ),
    "Qwen3": language_model(
        lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**SIZE, num_key_value_heads=2, head_dim=16))
    ),
    "Bert": language_model(lambda: hf.BertForMaskedLM(hf.BertConfig(**SIZE))),
    "ModernBert": language_model(
        lambda: hf.ModernBertForMaskedLM(
            hf.ModernBertConfig(**SIZE, **START_END, cls_token_id=1, sep_token_id=2)
        )
    ),
    "T5": language_model(
        lambda: hf.T5ForConditionalGeneration(
            hf.T5Config(
                d_model=64, d_ff=128, num_layers=2, num_heads=4, d_kv=16, vocab_size=VOCABULARY
            )
        ),
        drawn=("*.relative_attention_bias.weight",),
    ),
    "Whisper": language_model(
        lambda: hf.WhisperForConditionalGeneration(
            hf.WhisperConfig(
                **CODER, **START_END, vocab_size=VOCABULARY, max_source_positions=50,
                max_target_positions=40, decoder_start_token_id=1,
            )
        )
    ),
    "ViT": Row(
        lambda: hf.ViTForImageClassification(
            hf.ViTConfig(**IMAGE, **{k: v for k, v in SIZE.items() if k != "vocab_size"})
        )
    ),
    "Swin": Row(
        lambda: hf.SwinForImageClassification(
            hf.SwinConfig(
                image_size=32, patch_size=2, window_size=4, embed_dim=24, depths=(2, 2),
                num_heads=(2, 4),
            )
        )
    ),
    "ConvNextV2": Row(
        lambda: hf.ConvNextV2ForImageClassification(
            hf.ConvNextV2Config(
                depths=[2, 2], hidden_sizes=[16, 32], num_stages=2, image_size=32, patch_size=2
            )
        ),
        guessed=("*.pwconv2.weight",),
    ),
    "ResNet": Row(
        lambda: hf.ResNetForImageClassification(
            hf.ResNetConfig(
                depths=[2, 2], hidden_sizes=[64, 128], embedding_size=16, image_size=32
            )
        ),
        lambda: {"pixel_values": noise((4, 3, 32, 32))()[0]},
    ),
    "CLIP": Row(clip, lost=("logit_scale",)),
    "Wav2Vec2": Row(
        wav2vec2,
        lambda: {"input_values": noise((2, 4000))()[0]},
        drawn=("wav2vec2.masked_spec_embed",),
    ),
    "Mamba": language_model(
        lambda: hf.MambaForCausalLM(
            hf.MambaConfig(hidden_size=64, num_hidden_layers=2, vocab_size=VOCABULARY)
        ),
        drawn=("*.dt_proj.bias",),
    ),
    "DETR": Row(
        detr,
        lambda: {"pixel_values": noise((2, 3, 64, 64))()[0]},
        drawn=("model.backbone.*",),  # frozen, to be loaded from a checkpoint
        lost=("model.backbone.*normalization*",),
    ),
    "SegFormer": Row(segformer),
    "nn.Transformer": Row(
        lambda: nn.Transformer(64, 4, 2, 2, 128, batch_first=True),
        noise((3, 7, 64), (3, 5, 64)),
    ),
    "nn.LSTM": Row(lambda: nn.LSTM(8, 16, 2, bidirectional=True), noise((7, 3, 8))),
    "nn.GRU": Row(lambda: nn.GRU(8, 16), noise((7, 3, 8))),
    "nn.MultiheadAttention, packed": Row(
        lambda: nn.MultiheadAttention(16, 4), noise((7, 3, 16), (7, 3, 16), (7, 3, 16))
    ),
    "nn.MultiheadAttention, kdim and vdim": Row(
        lambda: nn.MultiheadAttention(16, 4, kdim=8, vdim=12, add_bias_kv=True),
        noise((7, 3, 16), (5, 3, 8), (5, 3, 12)),
    ),
}  # fmt: skip


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer under every name it has."""
    parameters = model.named_parameters(remove_duplicate=False)
    return dict(parameters) | dict(model.named_buffers(remove_duplicate=False))
