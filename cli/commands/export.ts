import { command } from '../command/define.js';
import { text, wholeNumber } from '../command/flags.js';
import { ProgressDisplay, stepHooks } from '../terminal/index.js';

interface Flags {
  merge: boolean;
  onnx?: 'fp32' | 'fp16';
  step?: number;
  output: string;
}

const formNames = { adapter: 'adapter', merged: 'merged model', full: 'model' };

export const exportModel = command<Flags, [outputDir: string]>(
  {
    docs: {
      brief: 'Publish a checkpoint of a run as a Hugging Face folder',
      fullDescription:
        'Publishes a checkpoint of a run as a Hugging Face folder, with --onnx also for ONNX Runtime: to a folder, S3 or\n' +
        'the Hugging Face hub (token in HF_TOKEN). It becomes visible all at once, and replaces only an earlier publication.',
    },
    flags: {
      merge: { kind: 'boolean', brief: 'merge the adapter into the model', default: false },
      onnx: {
        kind: 'enum',
        values: ['fp32', 'fp16'],
        brief: 'add the model for ONNX Runtime, an adapter merged in, compared with the engine',
        optional: true,
      },
      step: {
        kind: 'parsed',
        parse: wholeNumber(1),
        brief: 'step of the checkpoint (default: the newest)',
        optional: true,
      },
      output: text('folder, s3:// prefix or hf://owner/name[@branch]'),
    },
    async run({ step = null, merge, onnx = null, output }, outputDir) {
      const { exportRun } = await import('../../recipes/index.js');
      const display = new ProgressDisplay(process.stderr);
      const exported = await exportRun({ outputDir, output, merge, onnx, step }, stepHooks(display)).finally(
        () => display.clear(),
      );
      for (const line of exported.damage) process.stderr.write(`passed over a damaged checkpoint: ${line}\n`);
      process.stderr.write(
        `published the ${formNames[exported.form]} of step ${exported.step}${onnx === null ? '' : ' and its ONNX export'}\n`,
      );
      process.stdout.write(`${exported.model}\n`);
    },
  },
  { brief: 'output folder of a run', placeholder: 'OUTPUT_DIR' },
);
