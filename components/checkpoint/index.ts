/** Durable state of a run: commit log, checkpoints, retention, run document, metrics and publication. */
export { refuseUnderWay } from './claim.js';
export {
  appendCheckpoint,
  type CheckpointDraft,
  type Claimant,
  type GenerationRequest,
  type LoggedEntry,
  readCheckpointEntry,
  readClaim,
  readEntry,
  readLog,
  requireGeneration,
  takeClaim,
  takeGeneration,
} from './commit_log.js';
export { type Damage, DamagedCheckpoint, describeDamage, findDamage } from './damage.js';
export { readHistory, writeHistory } from './evaluation_history.js';
export { liveCheckpoints } from './live.js';
export {
  type Checkpoint,
  loadNewestSound,
  newestSound,
  openCheckpoint,
  type SoundCheckpoint,
  type TensorSink,
} from './load.js';
export {
  appendTaskMetrics,
  type JournalOptions,
  MetricsJournal,
  readMetrics,
  settleTaskMetrics,
} from './metrics_journal.js';
export {
  mergeRankFiles,
  type RankFile,
  type RankPosition,
  type RankTensor,
  writeRankFile,
} from './rank_file.js';
export { type Retention, retire } from './retention.js';
export {
  type ClaimedRun,
  claimRun,
  differingKeys,
  type RunClaim,
  readRunDocument,
  updateRunDocument,
} from './run_document.js';
export { CheckpointSaver, type SaverOptions, type Snapshot } from './save.js';
export { type CheckpointOptions, checkpointSchema } from './schema.js';
