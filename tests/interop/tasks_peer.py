"""Task definitions written down once more, in Python: HellaSwag as lm-evaluation-harness has it, on transformers, and the
scores of SQuAD's official evaluate-v1.1.py. Reads one JSON job from stdin and prints the answer as JSON.

{"job": "hellaswag", "model": DIR, "path": FILE, "limit": N}     log-likelihood of each ending, and what follows from them
{"job": "perplexity", "model": DIR, "texts": [...], "window": N}  Σ log p of each text in windows of N tokens
{"job": "squad", "path": FILE, "answers": {id: text}}             exact_match and f1 of each question, and of all
"""

import collections
import json
import re
import string
import sys


def logprob_of_last(model, ids, count):
    """log p of the last `count` tokens, summed"""
    import torch

    with torch.no_grad():
        logits = model(torch.tensor([ids[:-1]]), logits_to_keep=count).logits[0]
    log = torch.log_softmax(logits.double(), -1)
    return sum(log[i, token].item() for i, token in enumerate(ids[-count:]))


def load(folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def preprocess(text):
    text = text.strip()
    text = text.replace(" [title]", ". ")
    text = re.sub("\\[.*?\\]", "", text)
    return text.replace("  ", " ")


def hellaswag(model, path, limit):
    loaded, tokenizer = load(model)
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False)
    examples = []
    with open(path, encoding="utf8") as lines:
        for line in list(lines)[:limit]:
            row = json.loads(line)
            context = preprocess(row["activity_label"] + ": " + row["ctx_a"] + " " + row["ctx_b"].capitalize())
            choices = [preprocess(ending) for ending in row["endings"]]
            scores = []
            for choice in choices:
                whole = encode(context + " " + choice)
                continuation = len(whole) - len(encode(context.rstrip()))
                scores.append(logprob_of_last(loaded, whole, continuation))
            normed = [score / len(choice) for score, choice in zip(scores, choices)]
            examples.append({"logprobs": scores, "lengths": [len(choice) for choice in choices],
                             "acc": int(scores.index(max(scores)) == int(row["label"])),
                             "acc_norm": int(normed.index(max(normed)) == int(row["label"]))})
    return {"examples": examples}


def perplexity(model, texts, window):
    loaded, tokenizer = load(model)
    prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    sums = []
    for text in texts:
        tokens = tokenizer.encode(text, add_special_tokens=False)
        total, done = 0.0, 0
        while done < len(tokens):
            end = min(done + window, len(tokens))
            # The last window looks back as far as it can.
            ids = ([prefix] + tokens)[end - min(end, window):end + 1]
            total += logprob_of_last(loaded, ids, end - done)
            done = end
        sums.append(total)
    return {"logprobs": sums}


def normalize_answer(s):
    s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def f1_score(prediction, truth):
    predicted, wanted = normalize_answer(prediction).split(), normalize_answer(truth).split()
    same = sum((collections.Counter(predicted) & collections.Counter(wanted)).values())
    if same == 0:
        return 0
    precision, recall = same / len(predicted), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def squad(path, answers):
    with open(path, encoding="utf8") as file:
        articles = json.load(file)["data"]
    scores = {}
    for article in articles:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                if qa["id"] not in answers:
                    continue
                truths, given = [answer["text"] for answer in qa["answers"]], answers[qa["id"]]
                scores[qa["id"]] = {
                    "exact_match": max(normalize_answer(given) == normalize_answer(truth) for truth in truths),
                    "f1": max(f1_score(given, truth) for truth in truths),
                }
    means = {name: 100 * sum(score[name] for score in scores.values()) / len(scores) for name in ("exact_match", "f1")}
    return {"scores": scores, "means": means}


job = json.load(sys.stdin)
print(json.dumps({"hellaswag": hellaswag, "perplexity": perplexity, "squad": squad}[job.pop("job")](**job)))
