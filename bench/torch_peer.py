"""The peer of bench/train_step.ts: the same training steps by PyTorch, transformers and peft. Takes StepOptions as JSON in
its first argument; then, for every line on stdin, makes a step and prints a StepResult as a line of JSON. Weights are
float32 and bf16 comes from autocast, as in transformers' Trainer; AdamW is torch's fused one."""

import json
import resource
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

options = json.loads(sys.argv[1])
torch.set_num_threads(options["threads"])
model = AutoModelForCausalLM.from_pretrained(options["model"], dtype=torch.float32)
model.config.use_cache = False
if options["mode"] == "lora":
    model = get_peft_model(model, LoraConfig(r=options["rank"], lora_alpha=2 * options["rank"], target_modules="all-linear"))
model.train()
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=options["learningRate"], betas=(0.9, 0.95), weight_decay=0.01, fused=True)
run = torch.compile(model) if options["compile"] else model
tokens = torch.tensor(options["tokens"])

print("ready", flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options["precision"] == "bf16"):
        loss = run(input_ids=tokens, labels=tokens).loss
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    result = {"loss": loss.item(), "norm": norm.item(), "seconds": time.perf_counter() - start}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result | {"peakBytes": peak, "profile": None}), flush=True)
