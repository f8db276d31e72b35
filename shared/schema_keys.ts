/** Keys that the sections of a recipe share. */
import { z } from 'zod';

/** A path: the recipe loader makes it start from the folder of the recipe that it is written in. */
export const filePath = z.string().min(1).meta({ 'x-temper-path': 'file' });

export const filePaths = z
  .union([filePath, z.array(filePath).min(1)])
  .describe('a file, a folder, a glob, or a list of them');
