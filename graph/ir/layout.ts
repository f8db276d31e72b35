/**
 * Layouts: how a value lies across the ranks of each axis of a mesh. Data parallelism needs none: the graph of one rank is the
 * graph of one micro-batch, and losses and gradients of micro-batches add.
 */

/** `tensor` splits weights, heads and features; `context` splits the tokens of one buffer. */
export const meshAxes = ['tensor', 'context'] as const;

export type MeshAxis = (typeof meshAxes)[number];

/**
 * How a value lies across the ranks of one mesh axis: `R` the same everywhere (Replicated), `S0`, `S1`, … split along that
 * dimension (Shard), `P` as summands that still have to be added (Partial).
 */
export type Placement = 'R' | 'P' | `S${number}`;

/** A placement for each mesh axis; Replicated along one that is absent. */
export type Layout = Readonly<Partial<Record<MeshAxis, Placement>>>;

export const replicated: Layout = {};

export const placementOn = (layout: Layout, axis: MeshAxis): Placement => layout[axis] ?? 'R';

/** The dimension that a placement splits; null where it splits none. */
export const shardedDimension = (placement: Placement): number | null =>
  placement.startsWith('S') ? Number(placement.slice(1)) : null;

export const sameLayout = (a: Layout, b: Layout): boolean =>
  a === b || meshAxes.every((axis) => placementOn(a, axis) === placementOn(b, axis));

/** Returns whether a value of so many dimensions can lie so. */
export const hasDimensions = (layout: Layout, dimensions: number): boolean =>
  meshAxes.every((axis) => (shardedDimension(placementOn(layout, axis)) ?? -1) < dimensions);

/** `tensor:S1 context:S0`, and nothing for axes along which the value is Replicated. */
export const printLayout = (layout: Layout): string =>
  meshAxes
    .filter((axis) => placementOn(layout, axis) !== 'R')
    .map((axis) => `${axis}:${placementOn(layout, axis)}`)
    .join(' ');
