"""Makes tests/parity/goldens/training: what torch makes of a dozen optimizer steps on tiny random Llama models, in full
and with peft's LoRA. Every document is run by itself, so nothing here knows of packs, padding or micro-batches: a step is
the sum over its documents of -log p, divided by the number of their supervised tokens.

usage: make_training_goldens.py     (needs torch, transformers, peft, safetensors)
"""

import copy
import json
import random
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, SequentialLR
from transformers import AutoConfig, AutoModelForCausalLM

here = Path(__file__).parent / "goldens" / "training"

BASE = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
MODELS = {"tied": {"tie_word_embeddings": True}, "untied": {"tie_word_embeddings": False, "head_dim": 6}}
ADAPTERS = {
    "lora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]},
    "rslora": {"r": 3, "lora_alpha": 6, "use_rslora": True, "target_modules": "all-linear"},
}
STEPS, SIZE, MICRO = 12, 32, 2
# As the recipe spells it. `batches` is "ragged": other documents in every step; or "all": every document in every step.
CASES = {
    "sft_adamw": {
        "model": "tied", "adapter": None, "batches": "ragged",
        "training": {"optimizer": {"name": "adamw", "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1}, "learning_rate": 5e-3,
                     "lr_scheduler": {"name": "cosine", "warmup_steps": 3, "min_lr": 5e-4}, "clip_grad_norm": 1.0},
    },
    "sft_adamw_no_decay": {
        "model": "untied", "adapter": None, "batches": "all",
        "training": {"optimizer": {"name": "adamw", "betas": [0.8, 0.99], "eps": 1e-6, "weight_decay": 0.3, "no_decay": ["*norm.weight"]},
                     "learning_rate": 5e-3, "lr_scheduler": {"name": "constant"}, "clip_grad_norm": None},
    },
    "sft_sgd": {
        "model": "untied", "adapter": None, "batches": "ragged",
        "training": {"optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01}, "learning_rate": 5e-2,
                     "lr_scheduler": {"name": "linear", "warmup_steps": 2, "min_lr": 1e-2}, "clip_grad_norm": 1.0},
    },
    "lora_adamw": {
        "model": "tied", "adapter": "lora", "batches": "ragged",
        "training": {"optimizer": {"name": "adamw", "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.01}, "learning_rate": 2e-2,
                     "lr_scheduler": {"name": "cosine", "warmup_steps": 2, "min_lr": 0.0}, "clip_grad_norm": 1.0},
    },
    "rslora_adamw": {
        "model": "untied", "adapter": "rslora", "batches": "all",
        "training": {"optimizer": {"name": "adamw", "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}, "learning_rate": 5e-3,
                     "lr_scheduler": {"name": "constant"}, "clip_grad_norm": 1.0},
    },
}


def write_json(path, value):
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")


def make_models():
    for name, changes in MODELS.items():
        torch.manual_seed(len(name))
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **(BASE | changes)), dtype=torch.float32)
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                parameter.normal_(std=0.25)
                if "norm" in parameter_name:
                    parameter.add_(1.0)
        model.save_pretrained(here / name)
        (here / name / "generation_config.json").unlink(missing_ok=True)


def make_adapters():
    for name, options in ADAPTERS.items():
        model = load(next(case["model"] for case in CASES.values() if case["adapter"] == name), None)
        torch.manual_seed(5)
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                if "lora_B" in parameter_name:
                    parameter.normal_(std=0.1)
        model.save_pretrained(here / name)
        (here / name / "README.md").unlink(missing_ok=True)
        file = here / name / "adapter_config.json"
        saved = json.loads(file.read_text())
        saved |= {"base_model_name_or_path": None, "target_modules": sorted(saved["target_modules"])}
        file.write_text(json.dumps(saved, indent=2) + "\n")


def make_documents():
    """Ragged; about half with a masked beginning; one so short that it has nothing to predict."""
    draw = random.Random(3)
    documents = []
    for length in (23, 9, 2, 17, 30, 5, 12, 3, 28, 7, 1, 14, 32, 4, 19, 8):
        ids = [draw.randrange(BASE["vocab_size"]) for _ in range(length)]
        masked = draw.randrange(length) if draw.random() < 0.5 else 0
        documents.append({"input_ids": ids, "labels": [-100] * masked + ids[masked:]})
    (here / "documents.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    return documents


def ragged_batches(documents):
    """Steps of micro-batches of packs of documents: from one to three micro-batches, packs with room to spare."""
    draw = random.Random(11)
    steps = []
    for _ in range(STEPS):
        left = draw.sample(range(len(documents)), draw.randint(5, len(documents)))
        packs = [[]]
        for number in left:
            used = sum(len(documents[other]["input_ids"]) for other in packs[-1])
            if used + len(documents[number]["input_ids"]) > SIZE:
                packs.append([])
            packs[-1].append(number)
        packs = packs[:6]
        steps.append([packs[first:first + MICRO] for first in range(0, len(packs), MICRO)])
    return steps


def load(model, adapter):
    loaded = AutoModelForCausalLM.from_pretrained(here / model, dtype=torch.float32)
    return loaded if adapter is None else PeftModel.from_pretrained(loaded, here / adapter, is_trainable=True)


def optimizer_of(options, parameters, rate):
    excluded = [p for name, p in parameters if options.get("no_decay") and name.endswith("norm.weight")]
    decayed = [p for _, p in parameters if not any(p is other for other in excluded)]
    groups = [{"params": decayed, "weight_decay": options["weight_decay"]}, {"params": excluded, "weight_decay": 0.0}]
    if options["name"] == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=options["momentum"])
    return torch.optim.AdamW(groups, lr=rate, betas=tuple(options["betas"]), eps=options["eps"])


def scheduler_of(options, optimizer, peak):
    warmup = options.get("warmup_steps", 0)
    left = STEPS - warmup
    if options["name"] == "constant":
        after = ConstantLR(optimizer, factor=1.0)
    elif options["name"] == "cosine":
        after = CosineAnnealingLR(optimizer, T_max=left, eta_min=options["min_lr"])
    else:
        after = LinearLR(optimizer, start_factor=1.0, end_factor=options["min_lr"] / peak, total_iters=left)
    if warmup == 0:
        return after
    return SequentialLR(optimizer, [LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1), after], milestones=[warmup])


def train(case, documents, batches, precision):
    """Loss and gradient norm (before clipping) of every step, and the trained parameters at the end."""
    model = load(case["model"], case["adapter"]).train()
    if precision == "float64":
        model = model.double()
    options = case["training"]
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    optimizer = optimizer_of(options["optimizer"], trained, options["learning_rate"])
    scheduler = scheduler_of(options["lr_scheduler"], optimizer, options["learning_rate"])
    losses, norms = [], []
    for step in batches:
        chosen = [documents[number] for micro in step for pack in micro for number in pack]
        supervised = sum(label != -100 for document in chosen for label in document["labels"][1:])
        loss = 0.0
        for document in chosen:
            if all(label == -100 for label in document["labels"][1:]):
                continue
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
                logits = model(input_ids=torch.tensor([document["input_ids"]])).logits[0, :-1]
            logits = logits if precision == "float64" else logits.float()
            part = torch.nn.functional.cross_entropy(logits, torch.tensor(document["labels"][1:]), reduction="sum") / supervised
            part.backward()
            loss += part.item()
        parameters = [p for _, p in trained]
        limit = options["clip_grad_norm"]
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, float("inf") if limit is None else limit).item())
        losses.append(loss)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    return {"loss": losses, "grad_norm": norms}, {name.removeprefix("base_model.model.").replace(".default", ""): p.detach() for name, p in trained}


def main():
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    make_models()
    make_adapters()
    documents = make_documents()
    ragged = ragged_batches(documents)
    written = []
    for name, case in CASES.items():
        batches = ragged if case["batches"] == "ragged" else [[[[number]] for number in range(len(documents))]] * STEPS
        curves = {}
        for precision in ("float64", "float32", "bfloat16"):
            curves[precision], final = train(copy.deepcopy(case), documents, batches, precision)
            if precision == "float64":
                save_file({key: value.float().contiguous() for key, value in final.items()}, here / f"{name}.safetensors", {"format": "pt"})
        written.append({"name": name, **case, "curves": curves})
        print(name, *(f"{x:.3f}" for x in curves["float64"]["loss"]), "|", *(f"{x:.2f}" for x in curves["float64"]["grad_norm"]))
    write_json(here / "cases.json", {"steps": STEPS, "packedSequenceSize": SIZE, "micro": MICRO, "ragged": ragged, "cases": written})


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    main()
