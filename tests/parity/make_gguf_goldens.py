"""Makes tests/parity/goldens/gguf: packed blocks of each GGUF type and the values that gguf-py unpacks from them.

    python -m venv /tmp/goldens && /tmp/goldens/bin/pip install gguf==0.19.0 numpy==2.4.6
    /tmp/goldens/bin/python tests/parity/make_gguf_goldens.py

<type>.packed holds the blocks, <type>.f32 their values, manifest.json the numbers of both.
"""

import json
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

ELEMENTS = 512
rng = np.random.default_rng(20240613)
folder = Path(__file__).parent / "goldens" / "gguf"
folder.mkdir(parents=True, exist_ok=True)


def random_blocks(qtype: T, scales: list[int]) -> np.ndarray:
    """Blocks of random bytes, with float16 scales at the given byte offsets: every code of the format occurs."""
    elements, size = GGML_QUANT_SIZES[qtype]
    blocks = rng.integers(0, 256, (ELEMENTS // elements, size), dtype=np.uint8)
    for offset in scales:
        values = rng.normal(0, 0.02, len(blocks)).astype(np.float16)
        blocks[:, offset : offset + 2] = values.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(-1)


values = rng.normal(0, 0.05, ELEMENTS).astype(np.float32)
packed = {t: quantize(values, t) for t in (T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0)}
packed[T.F32] = values
# gguf-py unpacks these two but does not pack them.
packed[T.Q4_K] = random_blocks(T.Q4_K, [0, 2])
packed[T.Q6_K] = random_blocks(T.Q6_K, [208])

manifest = {}
for qtype, blocks in sorted(packed.items()):
    raw = np.ascontiguousarray(blocks).view(np.uint8).reshape(-1)
    unpacked = dequantize(raw if qtype is not T.F32 else values, qtype)
    if qtype in (T.F16, T.F32):
        unpacked = np.ascontiguousarray(blocks).astype(np.float32)
    unpacked = np.ascontiguousarray(unpacked, dtype=np.float32).reshape(-1)
    assert unpacked.size == ELEMENTS and np.isfinite(unpacked).all()
    (folder / f"{qtype.name}.packed").write_bytes(raw.tobytes())
    (folder / f"{qtype.name}.f32").write_bytes(unpacked.tobytes())
    manifest[qtype.name] = {"type": int(qtype), "elements": ELEMENTS}
(folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
