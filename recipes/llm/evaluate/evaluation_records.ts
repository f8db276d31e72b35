/** Records of a run's evaluations in addition to the results themselves: history, lines of metrics.jsonl, samples. */
import {
  appendTaskMetrics,
  readHistory,
  settleTaskMetrics,
  writeHistory,
} from '../../../components/checkpoint/index.js';
import type { ExampleResult } from '../../../components/evaluation/index.js';
import {
  type CheckpointEntry,
  type EvaluationHistory,
  type Score,
  samplesKey,
  type TaskMetrics,
} from '../../../contracts/index.js';
import type { Storage } from '../../../shared/storage/index.js';
import type { TaskScores } from './evaluate_tasks.js';

export type HistoryEntry = EvaluationHistory['entries'][number];

/** Returns the scores of all tasks by metric, `facts/valid_json` and so on. */
export const scoresByMetric = (tasks: readonly TaskScores[]): Record<string, Score> =>
  Object.fromEntries(
    tasks.flatMap(({ name, metrics }) =>
      Object.entries(metrics).map(([metric, score]) => [`${name}/${metric}`, score]),
    ),
  );

/**
 * Writes down what tasks said of a model: of a commit, or null for the one that training began with. A model that was
 * evaluated before keeps its position, and gets what is new.
 */
export async function recordScores(
  storage: Storage,
  subject: CheckpointEntry | null,
  tasks: readonly TaskScores[],
): Promise<EvaluationHistory> {
  const history = await readHistory(storage);
  const commit = subject?.id ?? null;
  const step = subject?.trainer.step ?? 0;
  const existing = history.entries.find((entry) => entry.commit === commit);
  const scores = scoresByMetric(tasks);
  const fresh = Object.keys(scores).some((metric) => existing?.scores[metric] === undefined);
  const entry = existing ?? { step, commit, at: new Date().toISOString(), scores: {} };
  Object.assign(entry.scores, scores);
  if (existing === undefined) history.entries.push(entry);
  await writeHistory(storage, history);
  for (const { name, results } of tasks) await recordAnswers(storage, name, step, results);
  if (fresh) await appendTaskMetrics(storage, metricsLine(entry));
  return history;
}

/** Returns the entries that belong to the run as it is now, by step, the last of several for one step. */
export function currentEntries(history: EvaluationHistory, lastStep: number): HistoryEntry[] {
  const byStep = new Map(history.entries.map((entry) => [entry.step, entry]));
  return [...byStep.values()].filter(({ step }) => step <= lastStep).sort((a, b) => a.step - b.step);
}

/** Puts one line for each evaluated model into metrics.jsonl, where it belongs. No generation may be writing. */
export async function settleMetrics(
  storage: Storage,
  history: EvaluationHistory,
  lastStep: number,
): Promise<void> {
  const entries = currentEntries(history, lastStep);
  if (entries.length > 0) await settleTaskMetrics(storage, entries.map(metricsLine));
}

function metricsLine({ step, at, scores }: HistoryEntry): TaskMetrics {
  const line: TaskMetrics = { step, timestamp: Date.parse(at) / 1000 };
  for (const [metric, { value, stderr, n }] of Object.entries(scores)) {
    const count = `${metric.split('/')[0]}/n`;
    line[metric] = value;
    if (stderr !== null) line[`${metric}_stderr`] = stderr;
    line[count] = Math.max(line[count] ?? 0, n);
  }
  return line;
}

interface SampleLine {
  id: string;
  prompt?: unknown;
  reference?: unknown;
  /** Answers by step. */
  answers: Record<string, unknown>;
}

/**
 * Writes `samples/<task>.jsonl`: a line for each example, with the answers of each step. Tasks without answers have
 * none.
 */
async function recordAnswers(
  storage: Storage,
  task: string,
  step: number,
  results: readonly ExampleResult[],
): Promise<void> {
  if (!results.some(({ details }) => 'answer' in details)) return;
  const key = samplesKey(task);
  const earlier = new Map<string, SampleLine>();
  if ((await storage.size(key)) !== null) {
    for (const text of (await storage.read(key)).toString('utf8').trim().split('\n')) {
      const line = JSON.parse(text) as SampleLine;
      earlier.set(line.id, line);
    }
  }
  const lines = results.map(({ id, details: { prompt, reference, answer } }): SampleLine => {
    const earlierLine = earlier.get(id);
    // Another prompt under the same id: the data has changed, and its old answers answer something else.
    const sameExample =
      earlierLine !== undefined && JSON.stringify(earlierLine.prompt) === JSON.stringify(prompt);
    const answers = sameExample ? earlierLine.answers : {};
    const all = Object.entries({ ...answers, [step]: answer }).sort(([a], [b]) => Number(a) - Number(b));
    return {
      id,
      ...(prompt === undefined ? {} : { prompt }),
      ...(reference === undefined ? {} : { reference }),
      answers: Object.fromEntries(all),
    };
  });
  await storage.write(key, Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join('')));
}
