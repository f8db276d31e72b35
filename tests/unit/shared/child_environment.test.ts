import {
  childEnvironment,
  selectCredentials,
  storageCredentials,
} from '../../../shared/processes/child_environment.js';

const environment = {
  PATH: '/bin',
  LC_ALL: 'C',
  TEMPER_CACHE: '/cache',
  HF_ENDPOINT: 'https://hub.example',
  HF_TOKEN: 'hf_secret',
  AWS_REGION: 'eu-west-1',
  AWS_SECRET_ACCESS_KEY: 'aws_secret',
  TEMPORAL_API_KEY: 'temporal_secret',
  DATABASE_URL: 'postgres://user:secret@host',
  NODE_AUTH_TOKEN: 'npm_secret',
  HF_INFERENCE_TOKEN: 'hf_other_secret',
  TEMPER_LOGGER_API_KEY: 'logger_secret',
  MY_PASSWORD: 'secret',
  LISTED_TOKEN: 'read by recipes',
  SPLIT: 'train',
  MY_DATA: '/data',
  TEMPER_RECIPE_ENV: 'SPLIT, MY_*, HF_TOKEN, LISTED_TOKEN',
};

test('child processes get the variables that they need and that recipes may read, and no secret but those listed by name', () => {
  expect(childEnvironment(environment)).toEqual({
    PATH: '/bin',
    LC_ALL: 'C',
    TEMPER_CACHE: '/cache',
    HF_ENDPOINT: 'https://hub.example',
    SPLIT: 'train',
    MY_DATA: '/data',
    LISTED_TOKEN: 'read by recipes',
    TEMPER_RECIPE_ENV: 'SPLIT, MY_*, HF_TOKEN, LISTED_TOKEN',
  });
});

test('each kind of credentials is selected by itself', () => {
  expect(selectCredentials(['hub'], environment)).toEqual({ HF_TOKEN: 'hf_secret' });
  expect(Object.keys(selectCredentials(['s3'], environment))).toEqual([
    'AWS_REGION',
    'AWS_SECRET_ACCESS_KEY',
  ]);
});

test('credentials of an object store go only to locations in one', () => {
  expect(storageCredentials(['/runs/one', '/cache/packs'], environment)).toEqual({});
  expect(storageCredentials(['/runs/one', 's3://bucket/packs'], environment)).toEqual({
    AWS_REGION: 'eu-west-1',
    AWS_SECRET_ACCESS_KEY: 'aws_secret',
  });
});
