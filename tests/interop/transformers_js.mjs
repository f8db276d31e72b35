/**
 * @huggingface/transformers in Node, from the folder that infra/peers/install_js.sh prints (argument). Reads jobs from stdin,
 * one JSON object a line, and answers each with a line of JSON.
 *
 * {"job": "greedy", "folder": DIR, "dtype": "fp32" | "fp16", "prompts": [[id…]…], "tokens": N}    at most N new ids each
 * {"job": "chat", "folder": DIR, "dtype": …, "messages": […], "tokens": N}                        the answer's text
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const require = createRequire(path.join(process.argv[2], 'package.json'));
const library = await import(pathToFileURL(require.resolve('@huggingface/transformers')));
const { AutoModelForCausalLM, AutoTokenizer, env, Tensor } = library.default ?? library;
env.allowRemoteModels = false;

async function open(folder, dtype) {
  env.localModelPath = path.dirname(folder);
  return AutoModelForCausalLM.from_pretrained(path.basename(folder), { dtype, device: 'cpu' });
}

async function greedy({ folder, dtype, prompts, tokens }) {
  const model = await open(folder, dtype);
  const answers = [];
  for (const ids of prompts) {
    const row = (values) => new Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
    const output = await model.generate({
      input_ids: row(ids),
      attention_mask: row(ids.map(() => 1)),
      max_new_tokens: tokens,
      do_sample: false,
    });
    answers.push(output.tolist()[0].slice(ids.length).map(Number));
  }
  await model.dispose();
  return { answers };
}

async function chat({ folder, dtype, messages, tokens }) {
  const model = await open(folder, dtype);
  const tokenizer = await AutoTokenizer.from_pretrained(path.basename(folder));
  const inputs = tokenizer.apply_chat_template(messages, { add_generation_prompt: true, return_dict: true });
  const output = await model.generate({ ...inputs, max_new_tokens: tokens, do_sample: false });
  await model.dispose();
  const answer = output.slice(null, [inputs.input_ids.dims[1], null]);
  return { text: tokenizer.batch_decode(answer, { skip_special_tokens: true })[0] };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { job, ...input } = JSON.parse(line);
  const answer = await { greedy, chat }[job](input).catch((error) => ({ error: String(error) }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
