/** A real Slurm cluster of one node, in a folder of its own: munged, slurmctld and slurmd as children of this process. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, hostname, tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { freePort } from '../../workers/embedded_server/server_process.js';
import { until } from '../support/until.js';

export class SlurmCluster {
  readonly folder: string;
  readonly #daemons: ChildProcess[] = [];

  private constructor(folder: string) {
    this.folder = folder;
  }

  /**
   * Two partitions share the node: jobs of `high` preempt jobs of `low`, which are queued again. A job that is queued
   * again may start after seconds, where Slurm's default is two minutes.
   */
  static async start(): Promise<SlurmCluster> {
    const cluster = new SlurmCluster(await mkdtemp(path.join(tmpdir(), 'temper-slurm-')));
    for (const name of ['state', 'spool', 'munge']) await mkdir(cluster.#in(name), { mode: 0o700 });
    execFileSync('mungekey', ['--create', `--keyfile=${cluster.#in('munge/key')}`]);
    await writeFile(cluster.#in('slurm.conf'), cluster.#configuration(await freePort(), await freePort()));
    const munge = ['key', 'pid', 'log', 'seed'].map(
      (name) => `--${name}-file=${cluster.#in(`munge/${name}`)}`,
    );
    cluster.#launch('munged', [
      '--foreground',
      '--force',
      `--socket=${cluster.#in('munge/socket')}`,
      ...munge,
    ]);
    cluster.#launch('slurmctld', ['-D', '-i', '-f', cluster.#in('slurm.conf')]);
    cluster.#launch('slurmd', ['-D', '-f', cluster.#in('slurm.conf')]);
    await until('a node that takes jobs', () =>
      cluster.#tryCall('sinfo', ['-h', '-o', '%t']).startsWith('idle'),
    );
    return cluster;
  }

  readonly #in = (name: string): string => path.join(this.folder, name);

  #configuration(controlPort: number, nodePort: number): string {
    const user = userInfo().username;
    const name = hostname();
    return `${[
      'ClusterName=temper-test',
      `SlurmctldHost=${name}(127.0.0.1)`,
      `SlurmUser=${user}`,
      `SlurmdUser=${user}`,
      `SlurmctldPort=${controlPort}`,
      `SlurmdPort=${nodePort}`,
      `AuthInfo=socket=${this.#in('munge/socket')},cred_expire=5`,
      `StateSaveLocation=${this.#in('state')}`,
      `SlurmdSpoolDir=${this.#in('spool')}`,
      `SlurmctldPidFile=${this.#in('slurmctld.pid')}`,
      `SlurmdPidFile=${this.#in('slurmd.pid')}`,
      'ProctrackType=proctrack/linuxproc',
      'TaskPlugin=task/none',
      'SelectType=select/cons_tres',
      'SelectTypeParameters=CR_CPU',
      'PreemptType=preempt/partition_prio',
      'PreemptMode=REQUEUE',
      'ReturnToService=2',
      'KillWait=60',
      `NodeName=${name} NodeAddr=127.0.0.1 CPUs=${availableParallelism()} State=UNKNOWN`,
      `PartitionName=low Nodes=${name} Default=YES PriorityTier=1 GraceTime=60`,
      `PartitionName=high Nodes=${name} PriorityTier=2 PreemptMode=OFF`,
    ].join('\n')}\n`;
  }

  #launch(program: string, parameters: readonly string[]): void {
    const log = openSync(this.#in(`${program}.log`), 'a');
    this.#daemons.push(spawn(program, parameters, { stdio: ['ignore', log, log], env: this.#environment }));
  }

  get #environment(): NodeJS.ProcessEnv {
    return { ...process.env, SLURM_CONF: this.#in('slurm.conf') };
  }

  /** Returns what a Slurm command prints. @throws Error when it fails */
  call(program: string, parameters: readonly string[], environment: Record<string, string> = {}): string {
    const env = { ...this.#environment, ...environment };
    return execFileSync(program, parameters, { encoding: 'utf8', env }).trim();
  }

  #tryCall(program: string, parameters: readonly string[]): string {
    try {
      return this.call(program, parameters);
    } catch {
      return '';
    }
  }

  /** Submits a job; returns its number. */
  submit(parameters: readonly string[], environment: Record<string, string> = {}): string {
    return this.call('sbatch', ['--parsable', ...parameters], environment);
  }

  /** Returns a field of `scontrol show job`, such as `JobState` or `Restarts`. */
  field(job: string, name: string): string {
    const description = this.call('scontrol', ['show', 'job', job]);
    return new RegExp(`\\b${name}=(\\S*)`).exec(description)?.[1] ?? '';
  }

  async cancelAll(): Promise<void> {
    this.#tryCall('scancel', ['--user', userInfo().username]);
    await until('the end of all jobs', () => this.#tryCall('squeue', ['-h']) === '');
  }

  async stop(): Promise<void> {
    await this.cancelAll();
    for (const daemon of this.#daemons.toReversed()) {
      const exit = new Promise((resolve) => daemon.once('exit', resolve));
      daemon.kill('SIGTERM');
      await exit;
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}
