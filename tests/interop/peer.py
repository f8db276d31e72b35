"""The readers that Temper's folders are written for. Reads jobs from stdin, one
JSON object a line, and answers each with a line of JSON.

{"job": "score", "model": DIR, "adapter": DIR or null, "documents": [[id...]...]}   log p(token i+1 | <= i), in float32
{"job": "greedy", "model": DIR, "prompts": [[id...]...], "tokens": N}               N new ids each, and the lead of each over the second best
{"job": "tokenize", "model": DIR, "texts": [...]}                                    ids without special tokens, and decoded again
{"job": "chat", "model": DIR, "messages": [...]}                                     the text of the model's own template
"""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def score(model, adapter, documents):
    loaded, info = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, output_loading_info=True)
    problems = {kind: sorted(map(str, names)) for kind, names in info.items() if names}
    if adapter is not None:
        loaded = PeftModel.from_pretrained(loaded, adapter)
    loaded.eval()
    result = []
    for ids in documents:
        with torch.no_grad():
            log = torch.log_softmax(loaded(torch.tensor([ids])).logits[0].double(), -1)
        result.append([log[i, token].item() for i, token in enumerate(ids[1:])])
    return {"logprobs": result, "problems": problems}


def greedy(model, prompts, tokens):
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    answers = []
    for ids in prompts:
        out = loaded.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False, eos_token_id=-1, pad_token_id=0,
                              max_new_tokens=tokens, output_logits=True, return_dict_in_generate=True)
        best = [logits[0].topk(2).values for logits in out.logits]
        answers.append({"ids": out.sequences[0, len(ids):].tolist(), "margins": [(a - b).item() for a, b in best]})
    return {"answers": answers}


def tokenize(model, texts):
    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    return {"ids": ids, "decoded": [tokenizer.decode(row) for row in ids]}


def chat(model, messages):
    return {"text": AutoTokenizer.from_pretrained(model).apply_chat_template(messages, tokenize=False)}


for line in sys.stdin:
    job = json.loads(line)
    try:
        answer = {"score": score, "greedy": greedy, "tokenize": tokenize, "chat": chat}[job.pop("job")](**job)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
