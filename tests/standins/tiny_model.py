"""A model file small enough for a test: a real architecture, random weights, nonsense answers."""

from pathlib import Path

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, FEED_FORWARD, CONTEXT = 64, 2, 4, 128, 4096
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


def byte_characters() -> list[str]:
    """GPT-2's way to write each of the 256 bytes as one printable character."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]


def write_tiny_model(path: Path) -> None:
    """Writes a Qwen2 model of about 0.4 MB, which knows bytes as its tokens and ChatML as its template."""
    tokens = [*byte_characters(), "<|im_start|>", "<|im_end|>"]
    writer = gguf.GGUFWriter(str(path), "qwen2")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * 2)
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(257)
    writer.add_chat_template(TEMPLATE)
    for name, shape in _shapes(len(tokens)).items():
        writer.add_tensor(name, _weights(name, shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, WIDTH),
        "output.weight": (vocabulary, WIDTH),
        "output_norm.weight": (WIDTH,),
    }
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for part in ("q", "k", "v"):
            shapes[f"{block}attn_{part}.weight"] = (WIDTH, WIDTH)
            shapes[f"{block}attn_{part}.bias"] = (WIDTH,)
        shapes[f"{block}attn_output.weight"] = (WIDTH, WIDTH)
        shapes[f"{block}attn_norm.weight"] = shapes[f"{block}ffn_norm.weight"] = (WIDTH,)
        shapes[f"{block}ffn_gate.weight"] = shapes[f"{block}ffn_up.weight"] = (FEED_FORWARD, WIDTH)
        shapes[f"{block}ffn_down.weight"] = (WIDTH, FEED_FORWARD)
    return shapes


def _weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if "norm" in name:
        return np.ones(shape, np.float32)
    return np.random.default_rng(len(name)).normal(0, 0.3, shape).astype(np.float32)
