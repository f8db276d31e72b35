import type { TemperConfig } from './config.js';

/** The configuration of this installation: its `temporal.config.ts`. */
export async function loadConfig(): Promise<TemperConfig> {
  const { default: config } = (await import('../temporal.config.js')) as { default: TemperConfig };
  return config;
}
