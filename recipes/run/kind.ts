/** The kinds of runs. This folder holds what is common to every run, and names no kind. */
import type { z } from 'zod';
import { Registry } from '../../shared/registry.js';

/** The part of a recipe that every kind of run has. */
export interface RunSummary {
  name: string;
  /** Null: `runs/<name>` next to the recipe. */
  outputDir: string | null;
  /** The name a person uses: a Hugging Face id, or a path. */
  model: string;
  epochs: number;
  pool: string;
  /** True when tasks are evaluated after each epoch. */
  evaluatesEpochs: boolean;
}

/** @typeParam Recipe a recipe of this kind, validated */
export interface RecipeKind<Recipe = unknown> {
  /** Value of the recipe's key `kind`. */
  readonly kind: string;
  readonly schema: z.ZodType<Recipe>;
  /** Keys whose change makes a resume meaningless: the weights would no longer be those of one run. */
  readonly identityKeys: readonly string[];
  summarize(recipe: Recipe): RunSummary;
}

const kinds = new Registry<RecipeKind>('recipe kind', ({ kind }) => kind);

/** The kind of a recipe that does not say which. */
export const defaultKind = 'llm';

/** Adds a kind. @throws UsageError when there is one of that name */
export function registerKind<Recipe>(kind: RecipeKind<Recipe>): void {
  kinds.register(kind as RecipeKind);
}

/** Returns a kind by its name; null: the default. @throws UsageError that lists the known ones */
export function findKind(name: string | null): RecipeKind {
  return kinds.find(name ?? defaultKind);
}

/** Returns the schema of a recipe whose key `kind` has this value: what `loadRecipe` asks for. */
export const schemaOfKind = (name: string | null): z.ZodType => findKind(name).schema;
