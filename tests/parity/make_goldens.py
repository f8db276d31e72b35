"""Makes tests/parity/goldens/{models,tokenizers,peft,smollm2}: tiny random Llama models, tokenizers and adapters with what
PyTorch, transformers, tokenizers and peft compute from them. Needs torch, transformers, peft, safetensors and gguf.

usage: make_goldens.py [SmolLM2-135M-Instruct.Q4_1.gguf]     (the file adds its own tokens and scores)
"""

import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import generate_merges

here = Path(__file__).parent / "goldens"

BASE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2,
}
# name -> (changes to the config, dtype of the file, number of files)
VARIANTS = {
    "mha_untied_old_spelling": ({"num_key_value_heads": 4, "tie_word_embeddings": False, "rope_theta": 10000.0, "torch_dtype": "float32"}, torch.float32, 1),
    "gqa_tied_bf16": ({"tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}, "dtype": "bfloat16"}, torch.bfloat16, 1),
    "explicit_head_dim": ({"head_dim": 6, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}, torch.float32, 1),
    "mqa_biases": ({"num_key_value_heads": 1, "attention_bias": True, "mlp_bias": True, "rope_theta": 5000.0}, torch.float32, 1),
    "f16_two_files_large_eps": ({"rms_norm_eps": 1e-2, "tie_word_embeddings": True, "rope_theta": 10000.0}, torch.float16, 2),
    "rope_linear": ({"head_dim": 8, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}}, torch.float32, 1),
    "rope_linear_old_spelling": ({"head_dim": 8, "rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 2.0}}, torch.float32, 1),
    "rope_llama3_old_spelling": ({"head_dim": 8, "rope_theta": 50.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}}, torch.float32, 1),
    "rope_yarn": ({"head_dim": 8, "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 16}}, torch.float32, 1),
    "rope_yarn_old_spelling": ({"head_dim": 8, "rope_theta": 300.0, "rope_scaling": {"type": "yarn", "factor": 2.0, "attention_factor": 1.3, "beta_fast": 4.0, "beta_slow": 2.0}}, torch.float32, 1),
}
ROPES = {
    "default": {"rope_type": "default", "rope_theta": 100000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5},
    "llama3": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    "yarn": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "original_max_position_embeddings": 4096},
    "yarn_mscale": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 0.7, "mscale_all_dim": 1.0, "beta_fast": 16, "beta_slow": 2, "truncate": False},
}
POSITIONS = [0, 1, 2, 31, 500, 4095, 8191]


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def randomize(model):
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(std=0.25)
            if "norm" in name:
                p.add_(1.0)


def documents(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, BASE["vocab_size"], (n,), generator=generator).tolist() for n in (23, 1, 9)]


def logprobs(model, ids):
    """log p(token i+1 | tokens up to i)"""
    with torch.no_grad():
        log = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    return [log[i, t].item() for i, t in enumerate(ids[1:])]


def expected(model, docs):
    """float64 is the reference; the others are the results of torch's own float32 and bfloat16."""
    double = [logprobs(model.double(), d) for d in docs]
    single = [logprobs(model.float(), d) for d in docs]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = [logprobs(model, d) for d in docs]
    return [{"input_ids": d, "float64": a, "float32": b, "bfloat16": c} for d, a, b, c in zip(docs, double, single, half)]


def save_weights(folder, state, files):
    if files == 1:
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        return
    names = sorted(state)
    index = {"metadata": {"total_size": sum(t.numel() * t.element_size() for t in state.values())}, "weight_map": {}}
    for i in range(files):
        part = names[i * len(names) // files : (i + 1) * len(names) // files]
        file = f"model-{i + 1:05d}-of-{files:05d}.safetensors"
        save_file({n: state[n] for n in part}, folder / file, {"format": "pt"})
        index["weight_map"] |= {n: file for n in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def make_models():
    for number, (name, (changes, dtype, files)) in enumerate(VARIANTS.items()):
        folder = here / "models" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        config = BASE | changes
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        torch.manual_seed(number)
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
        randomize(model)
        state = {n: p.detach().to(dtype).contiguous() for n, p in model.named_parameters()}
        save_weights(folder, state, files)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        write_json(folder / "expected.json", expected(model, documents(number)))


def make_rope_tables():
    tables = {}
    for name, rope in ROPES.items():
        config = AutoConfig.for_model("llama", hidden_size=128, num_attention_heads=2, num_hidden_layers=1, intermediate_size=8,
                                      vocab_size=8, max_position_embeddings=131072, rope_parameters=dict(rope))
        model = AutoModelForCausalLM.from_config(config)
        cos, sin = model.model.rotary_emb(torch.zeros(1), torch.tensor([POSITIONS]))
        rows = torch.cat((cos[0, :, :32], sin[0, :, :32]), -1)
        tables[name] = {"rope": rope, "head_dim": 64, "positions": POSITIONS, "rows": [[round(v, 9) for v in r] for r in rows.tolist()]}
    write_json(here / "models" / "rope.json", tables)


CORPUS = [
    "", " ", "Hello, world!", "  two  spaces   three", "tabs\tand\nnewlines\r\n\r\nend  \n", "It's they'll I'VE we'd don't",
    "x = [i**2 for i in range(10)]  # 12345 67.89\n\treturn None", "Zürich, naïve café, smørrebrød, Łódź", "Straße É e\u0301 Å A\u030a",
    "Привет, мир! Как дела?", "你好，世界。我喜欢吃苹果。", "こんにちは、世界！カタカナ", "안녕하세요 세계", "مرحبا بالعالم ١٢٣٤", "नमस्ते दुनिया १२३",
    "😀😃 👩‍👩‍👧‍👦 🇨🇭 👍🏽", "½ ² ³ Ⅷ ⑨ 𝟙𝟚 1,000,000 3.14159", "\ufeffbyte order mark\ufeff inside", "next\u0085line \u2028separator\u00a0no-break\u3000ideographic",
    "\u200bzero\u200bwidth\u200d", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", "<|im_end|><|im_end|> <|im_endx|>", "a" * 300, "ab" * 200 + " 1" * 40,
    "https://example.org/a?b=c&d=%20e#f", '{"capital":"Bern","languages":["German","French"],"tld":".ch"}', "The quick brown fox jumps over the lazy dog. " * 3,
    "\u0000\u0001\u007f control", "…—–‘’“”«»„", "▁underscore ▁▁ block", "end with space ", "<s>not special</s> <unk> <0x41>", "𐍈𐌰𐌿 gothic \U0010ffff",
    "UPPER lower MiXeD snake_case camelCase kebab-case", "∑∫√∞ ≤ ≥ ≠ α β γ Ω", "ﬁ ligature ﷺ",
]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
          r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def split_then_bytes(split):
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


# The pre-tokenizers as the models' own tokenizer.json have them, by llama.cpp's name for them.
PRE = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
    "llama-bpe": split_then_bytes(pre_tokenizers.Split(Regex(LLAMA3), "isolated")),
    "tekken": split_then_bytes(pre_tokenizers.Split(Regex(TEKKEN), "isolated")),
}


def byte_level(pre):
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre in ("llama-bpe", "tekken")))
    tokenizer.pre_tokenizer = PRE[pre]
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def encodings(tokenizer):
    """Ids and, in UTF-16 units, offsets (Rust counts code points)."""
    result = []
    for text in CORPUS:
        units = [0]
        for c in text:
            units.append(units[-1] + (2 if ord(c) > 0xFFFF else 1))
        encoding = tokenizer.encode(text, add_special_tokens=False)
        result.append({"text": text, "ids": encoding.ids, "offsets": [[units[a], units[b]] for a, b in encoding.offsets],
                       "decoded": tokenizer.decode(encoding.ids, skip_special_tokens=False)})
    return result


def permute(weight, heads):
    """llama.cpp's convert_hf_to_gguf.py, LlamaModel.permute"""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


GGUF_NAMES = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
              "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    outer = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    if name in outer:
        return outer[name]
    _, _, layer, rest = name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{GGUF_NAMES[module]}.{kind}"


def write_gguf(path, kind, pre, tokens, types, merges, scores, extra):
    """A tiny Llama with this tokenizer; its weights go into a safetensors file next to it, under Hugging Face names."""
    torch.manual_seed(len(tokens))
    config = AutoConfig.for_model("llama", **{k: v for k, v in BASE.items() if k not in ("architectures", "model_type", "vocab_size")},
                                  vocab_size=len(tokens), tie_word_embeddings=True, attention_bias=True, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    model = AutoModelForCausalLM.from_config(config)
    randomize(model)
    state = {n: p.detach() for n, p in model.named_parameters()}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_block_count(2)
    writer.add_feed_forward_length(24)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(4)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model(kind)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if merges is not None:
        writer.add_token_merges(merges)
    if scores is not None:
        writer.add_token_scores(scores)
    for key, value in extra.items():
        getattr(writer, key)(value)
    for name, value in state.items():
        array = value.numpy()
        if "q_proj" in name or "k_proj" in name:
            array = permute(array, 4 if "q_proj" in name else 2)
        writer.add_tensor(gguf_name(name), np.ascontiguousarray(array.astype(np.float32)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file({n: t.contiguous() for n, t in state.items() if n != "model.embed_tokens.weight"}, path.with_suffix(".safetensors"), {"format": "pt"})


def make_byte_level_tokenizers():
    for pre in PRE:
        tokenizer = byte_level(pre)
        trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
        tokenizer.train_from_iterator(CORPUS * 3, trainer)
        description = json.loads(tokenizer.to_str())["model"]
        vocab = sorted(description["vocab"], key=description["vocab"].get)
        types = [3 if token in SPECIAL else 1 for token in vocab]
        folder = here / "tokenizers"
        folder.mkdir(parents=True, exist_ok=True)
        write_gguf(folder / f"{pre}.gguf", "gpt2", pre, vocab, types, [" ".join(m) for m in description["merges"]], None,
                   {"add_bos_token_id": 1, "add_eos_token_id": 2, "add_add_bos_token": False})
        write_json(folder / f"{pre}.json", encodings(tokenizer))


def make_sentencepiece_tokenizer():
    """A vocabulary like Llama 2's: ▁ for spaces, byte tokens, scores instead of merges."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    trained.train_from_iterator(CORPUS[:8] + CORPUS[26:27], trainers.BpeTrainer(vocab_size=220, show_progress=False))
    learned = sorted(trained.get_vocab(), key=trained.get_vocab().get)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + [t for t in learned if not t.isspace() and "\0" not in t]
    types = [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259)
    scores = [0.0] * 259 + [-float(i) for i in range(len(tokens) - 259)]
    vocab = {t: i for i, t in enumerate(tokens)}
    merges = generate_merges(vocab, dict(zip(tokens, scores)))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=True, byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in tokens[:3]])
    write_gguf(here / "tokenizers" / "llama.gguf", "llama", "default", tokens, types, None, scores,
               {"add_bos_token_id": 1, "add_eos_token_id": 2, "add_unk_token_id": 0})
    write_json(here / "tokenizers" / "llama.json", encodings(tokenizer))


def smollm2_tokenizer(path):
    """SmolLM2's own definition with the vocabulary of its GGUF file, which is too large to commit."""
    fields = gguf.GGUFReader(path).fields
    tokens, merges, types = (fields[f"tokenizer.ggml.{k}"].contents() for k in ("tokens", "merges", "token_type"))
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in merges]))
    tokenizer.pre_tokenizer = PRE["smollm"]
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t, k in zip(tokens, types) if k == 3])
    return tokenizer


TEXTS = [
    "The capital of France is Paris. It lies on the river Seine, and about two million people live in it.",
    "def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n\nprint([fibonacci(i) for i in range(10)])\n",
    "<|im_start|>user\nWhat is the capital of Italy?<|im_end|>\n<|im_start|>assistant\nThe capital of Italy is Rome.<|im_end|>\n",
]


def make_smollm2_scores(path):
    """What transformers makes of the GGUF file itself, dequantized to float32."""
    tokenizer = smollm2_tokenizer(path)
    loaded = AutoModelForCausalLM.from_pretrained(Path(path).parent, gguf_file=Path(path).name, dtype=torch.float32)
    # A model read from GGUF counts as quantized and refuses to become float64; its values may be copied.
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **{k: v for k, v in loaded.config.to_dict().items() if k not in ("model_type", "quantization_config")}))
    model.load_state_dict(loaded.state_dict())
    model.eval()
    docs = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    write_json(here / "smollm2" / "expected.json", [e | {"text": t} for e, t in zip(expected(model, docs), TEXTS)])


TEMPLATES = {
    "smollm2": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "blocks_and_tools": "{%- if tools %}\n    {{- '[TOOLS]' }}\n    {%- for tool in tools %}\n        {{- tool | tojson }}\n        {{- ', ' if not loop.last }}\n    {%- endfor %}\n{%- endif %}\n{%- set ns = namespace(turns=0) %}\n{%- for m in messages %}\n  {% if m.role == 'user' %}\n    {%- set ns.turns = ns.turns + 1 %}\n[{{ ns.turns }}] {{ m.content }}\n  {% elif m.role == 'assistant' %}\n> {{ m.content | trim }}{{ eos_token }}\n  {% else %}\n{{ m.role | upper }}: {{ m.content | replace('\\n', ' ') }}\n  {% endif %}\n{%- endfor %}\n{% if add_generation_prompt %}> {% endif %}",
}
CHATS = [
    [{"role": "user", "content": "Hi"}],
    [{"role": "system", "content": "Be brief.\nAlways."}, {"role": "user", "content": "  Name a city. "}, {"role": "assistant", "content": " Bern \n"}, {"role": "user", "content": "Another: \"é\" <b>"}],
]


def make_chat_templates():
    tools = [{"type": "function", "function": {"name": "add", "description": "adds \"é\" <numbers>", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}}]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level("gpt-2"), bos_token="<bos>", eos_token="<eos>")
    cases = []
    for name, template in TEMPLATES.items():
        for messages in CHATS:
            for prompt in (False, True):
                given = tools if name == "blocks_and_tools" and prompt else None
                text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=prompt, tools=given)
                cases.append({"name": name, "template": template, "messages": messages, "addGenerationPrompt": prompt, "tools": given, "text": text})
    write_json(here / "tokenizers" / "chat_templates.json", cases)


def make_adapters():
    for name, options in {"lora": {"target_modules": ["q_proj", "v_proj"], "r": 4, "lora_alpha": 8}, "rslora": {"target_modules": "all-linear", "r": 3, "lora_alpha": 6, "use_rslora": True}}.items():
        folder = here / "peft" / name
        shutil.rmtree(folder, ignore_errors=True)
        base = AutoModelForCausalLM.from_pretrained(here / "models" / "gqa_tied_bf16", dtype=torch.float32)
        torch.manual_seed(7)
        model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **options)).eval()
        with torch.no_grad():
            for n, p in model.named_parameters():
                if "lora_B" in n:
                    p.normal_(std=0.2)
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        saved = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(saved | {"base_model_name_or_path": "models/gqa_tied_bf16", "target_modules": sorted(saved["target_modules"])}, indent=2) + "\n")
        write_json(folder / "expected.json", expected(model, documents(99)))
        merged = model.float().merge_and_unload()
        save_file({n: p.detach().contiguous() for n, p in merged.named_parameters() if "_proj" in n}, folder / "merged.safetensors", {"format": "pt"})


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    make_models()
    make_rope_tables()
    make_byte_level_tokenizers()
    make_sentencepiece_tokenizer()
    make_chat_templates()
    make_adapters()
    if len(sys.argv) > 1:
        write_json(here / "smollm2" / "tokens.json", encodings(smollm2_tokenizer(sys.argv[1])))
        make_smollm2_scores(sys.argv[1])
