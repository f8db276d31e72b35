"""Python's readers of exported folders: ONNX itself, ONNX Runtime, and onnxruntime-genai. Reads jobs from stdin, one JSON
object a line, and answers each with a line of JSON.

{"job": "check", "model": FILE}                                             full check by ONNX: types, shapes, operators
{"job": "score", "model": FILE, "documents": [[id...]...]}                  log p(token i+1 | <= i)
{"job": "greedy", "model": FILE, "prompts": [[id...]...], "tokens": N}      N new ids each, through the key-value cache
{"job": "genai", "folder": DIR, "prompts": [[id...]...], "tokens": N}       the same by onnxruntime-genai, to the end of text
"""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import onnxruntime_genai


class Decoder:
    def __init__(self, file):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]
        types = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        self.past = {slot.name: np.zeros((1, slot.shape[1], 0, slot.shape[3]), types[slot.type])
                     for slot in self.session.get_inputs() if slot.name.startswith("past_key_values.")}

    def run(self, ids, past=None):
        past = past or self.past
        before = next(iter(past.values())).shape[2]
        feeds = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, before + len(ids)), np.int64),
                 "position_ids": np.arange(before, before + len(ids), dtype=np.int64)[None], **past}
        outputs = dict(zip(self.outputs, self.session.run(None, feeds)))
        logits = outputs.pop("logits")[0]
        return logits, {name.replace("present", "past_key_values"): value for name, value in outputs.items()}


def check(model):
    onnx.checker.check_model(model, full_check=True)
    return {"opset": {imported.domain: imported.version for imported in onnx.load(model, load_external_data=False).opset_import}}


def score(model, documents):
    decoder = Decoder(model)
    result = []
    for ids in documents:
        logits = decoder.run(ids)[0].astype(np.float64)
        log = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
        result.append([log[i, token] for i, token in enumerate(ids[1:])])
    return {"logprobs": result}


def greedy(model, prompts, tokens):
    decoder = Decoder(model)
    answers = []
    for ids in prompts:
        new = []
        logits, past = decoder.run(ids)
        for _ in range(tokens):
            new.append(int(logits[-1].argmax()))
            logits, past = decoder.run(new[-1:], past)
        answers.append(new)
    return {"answers": answers}


def genai(folder, prompts, tokens):
    model = onnxruntime_genai.Model(folder)
    answers = []
    for ids in prompts:
        params = onnxruntime_genai.GeneratorParams(model)
        params.set_search_options(max_length=len(ids) + tokens)
        generator = onnxruntime_genai.Generator(model, params)
        generator.append_tokens(np.array(ids, np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        answers.append([int(token) for token in generator.get_sequence(0)[len(ids):]])
    return {"answers": answers}


for line in sys.stdin:
    job = json.loads(line)
    try:
        answer = {"check": check, "score": score, "greedy": greedy, "genai": genai}[job.pop("job")](**job)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
