"""Makes tests/parity/goldens/generation: what transformers' logits processors leave of random logits, and what its greedy
search says on tiny models and on SmolLM2. Needs torch and transformers.

usage: make_generation_goldens.py [FOLDER]     (a folder with SmolLM2-135M-Instruct as float32 adds its answers)
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

here = Path(__file__).parent / "goldens"

OPTIONS = [
    {"temperature": 0.7},
    {"temperature": 1.0, "repetition_penalty": 1.3},
    {"temperature": 1.0, "top_k": 5},
    {"temperature": 2.5, "top_k": 1},
    {"temperature": 0.3, "top_k": 64},
    {"temperature": 1.0, "top_p": 0.9},
    {"temperature": 0.5, "top_p": 0.05},
    {"temperature": 4.0, "top_p": 0.95},
    {"temperature": 2.5, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.1},
    {"temperature": 1.4, "top_k": 7, "top_p": 0.95, "repetition_penalty": 0.8},
]


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")


def make_processors():
    """The processors in the order in which `generate` itself applies them."""
    model = AutoModelForCausalLM.from_pretrained(here / "models" / "gqa_tied_bf16")
    generator = torch.Generator().manual_seed(5)
    cases = []
    for options in OPTIONS:
        seen = torch.randint(0, 64, (9,), generator=generator)
        logits = 3 * torch.randn(64, generator=generator)
        config = GenerationConfig(do_sample=True, **{"top_k": 0, "top_p": 1.0, **options})
        processors = model._get_logits_processor(generation_config=config, input_ids_seq_length=9)
        weights = torch.softmax(processors(seen[None], logits[None].clone())[0].double(), -1)
        kept = torch.nonzero(weights)[:, 0]
        cases.append({
            "options": options, "seen": seen.tolist(), "logits": logits.tolist(),
            "ids": kept.tolist(), "probabilities": weights[kept].tolist(),
        })
    write_json(here / "generation" / "processors.json", cases)


def greedy(model, prompt, tokens):
    """The answer without its end-of-sequence token, and the lead of the best logit at each of its tokens."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens, pad_token_id=0,
        output_logits=True, return_dict_in_generate=True,
    )
    best = torch.stack(out.logits)[:, 0].topk(2).values
    ids = out.sequences[0, len(prompt):].tolist()
    leads = (best[:, 0] - best[:, 1]).tolist()
    ended = ids[-1] in (model.generation_config.eos_token_id, 2)
    return {"prompt": prompt, "ids": ids[:-1] if ended else ids, "leads": [round(lead, 6) for lead in leads], "finish": "eos" if ended else "length"}


def make_tiny_answers():
    answers = {}
    for folder in sorted((here / "models").iterdir()):
        if not folder.is_dir():
            continue
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        documents = [d["input_ids"] for d in json.loads((folder / "expected.json").read_text())]
        answers[folder.name] = [greedy(model, d, 64 - len(d)) for d in documents]
    write_json(here / "generation" / "greedy.json", answers)


QUESTIONS = [
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "List the first five prime numbers, and explain in one sentence what a prime number is.",
    "Tell me a long story about a fox and a lighthouse.",
]


def make_smollm2_answers(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    cases = []
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        answer = greedy(model, prompt, 64)
        cases.append({"question": question, "text": tokenizer.decode(answer["ids"])} | answer)
    write_json(here / "generation" / "smollm2.json", cases)


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    make_processors()
    make_tiny_answers()
    if len(sys.argv) > 1:
        make_smollm2_answers(sys.argv[1])
