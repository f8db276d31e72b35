/** Shows a run in Temporal's UI: search attributes or memo, and the current details. */
import { setCurrentDetails, upsertMemo, upsertSearchAttributes } from '@temporalio/workflow';
import { searchAttributeTypes } from '../../contracts/names.js';
import type { RunState } from '../../contracts/run_state.js';

type Shown = Record<keyof typeof searchAttributeTypes, string | number | null>;

type TypedPairs = Extract<Parameters<typeof upsertSearchAttributes>[0], readonly unknown[]>;

/** Writes what changed since the last call; nothing before admission, which says where it may be written. */
export class Visibility {
  #shown: Shown = { TemperModel: null, TemperState: null, TemperStep: null, TemperLoss: null };

  show(state: RunState): void {
    setCurrentDetails(details(state));
    if (state.admission === null) return;
    const current: Shown = {
      TemperModel: state.admission.admitted.model,
      TemperState: state.phase,
      TemperStep: state.progress?.step ?? state.outcome?.step ?? null,
      TemperLoss: state.progress?.loss ?? state.outcome?.loss ?? null,
    };
    const changedKeys = (Object.keys(current) as (keyof Shown)[]).filter(
      (name) => current[name] !== null && current[name] !== this.#shown[name],
    );
    if (changedKeys.length === 0) return;
    this.#shown = current;
    if (state.admission.searchAttributes) {
      const pairs = changedKeys.map((name) => ({
        key: { name, type: searchAttributeTypes[name] },
        value: current[name],
      }));
      upsertSearchAttributes(pairs as TypedPairs);
    } else {
      upsertMemo(Object.fromEntries(changedKeys.map((name) => [name, current[name]])));
    }
  }
}

/** Returns Markdown for the Temporal UI. */
function details(state: RunState): string {
  const lines = [`**${state.phase.replaceAll('_', ' ')}**`];
  const { admission, progress, grant, outcome } = state;
  if (admission !== null)
    lines.push(`model ${admission.admitted.model} → \`${admission.admitted.run.outputDir}\``);
  if (grant !== null) {
    const { members } = grant;
    const where = members.length === 1 ? members[0]!.host : `${members.length} hosts`;
    lines.push(`generation ${grant.generation} on ${where}`);
  }
  if (progress !== null) {
    const loss = progress.loss === null ? '' : `, loss ${progress.loss.toFixed(4)}`;
    const speed =
      progress.tokensPerSecond === null ? '' : `, ${Math.round(progress.tokensPerSecond)} tokens/s`;
    const eta = progress.eta === null ? '' : `, ${Math.round(progress.eta)} s remaining`;
    lines.push(`step ${progress.step} of ${progress.totalSteps}${loss}${speed}${eta}`);
  } else if (outcome !== null) {
    lines.push(`step ${outcome.step}, ${outcome.reason}`);
  }
  const count = Object.values(state.interruptions).reduce((sum, part) => sum + part, 0);
  const last = state.timeline.findLast(({ event }) => event in state.interruptions);
  if (count > 0) {
    const what = last === undefined ? '' : `, the latest: ${last.event.replaceAll('_', ' ')}, ${last.detail}`;
    lines.push(`${count} ${count === 1 ? 'interruption' : 'interruptions'}${what}`);
  }
  return lines.join('\n\n');
}
