// The quickstart's data: 250 countries of the npm package world-countries (ODbL), as questions and JSON answers.
// 40 of them are held out, every sixth by name.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../examples/data/countries');
const countries = JSON.parse(
  await readFile(createRequire(import.meta.url).resolve('world-countries/countries.json'), 'utf8'),
);

const rows = countries
  .map((country) => ({
    question: `Give the facts about ${country.name.common} as JSON.`,
    answer: JSON.stringify({
      capital: country.capital[0] ?? '',
      region: country.region,
      subregion: country.subregion,
      currency: Object.keys(country.currencies)[0] ?? '',
      languages: Object.values(country.languages),
      domain: country.tld[0] ?? '',
    }),
  }))
  .sort((a, b) => (a.question < b.question ? -1 : 1));

const heldOut = rows.filter((_, index) => index % 6 === 3).slice(0, 40);
const train = rows.filter((row) => !heldOut.includes(row));
const lines = (list) => list.map((row) => `${JSON.stringify(row)}\n`).join('');
await mkdir(folder, { recursive: true });
await writeFile(path.join(folder, 'train.jsonl'), lines(train));
await writeFile(path.join(folder, 'held_out.jsonl'), lines(heldOut));
process.stdout.write(`${train.length} countries for training, ${heldOut.length} held out\n`);
