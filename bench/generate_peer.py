"""The peer of bench/generate.ts: transformers' `generate` in PyTorch. Takes GenerateOptions as JSON in its first argument;
then, for every line on stdin, answers all prompts and prints a GenerateResult as a line of JSON."""

import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM

options = json.loads(sys.argv[1])
torch.set_num_threads(options["threads"])
dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[options["precision"]]
model = AutoModelForCausalLM.from_pretrained(options["model"], dtype=dtype).eval()
prompts = torch.tensor(options["prompts"])
times = []


def note_time(_ids, scores):
    times.append(time.perf_counter())
    return scores


print("ready", flush=True)
for _ in sys.stdin:
    times.clear()
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            prompts, attention_mask=torch.ones_like(prompts), do_sample=False, max_new_tokens=options["newTokens"],
            eos_token_id=-1, pad_token_id=0, logits_processor=[note_time],
        )
    total = time.perf_counter() - start
    print(json.dumps({"first": times[0] - start, "total": total, "ids": out[0, prompts.shape[1]:].tolist()}), flush=True)
