import { UsageError } from '../../../shared/errors.js';
import { parseDevices } from '../../../workers/host/devices.js';

test.each([
  ['auto', ['cpu:0']],
  ['cpu', ['cpu:0']],
  ['cpu:3', ['cpu:0', 'cpu:1', 'cpu:2']],
])('%s names the slots %j', (text, slots) => {
  expect(parseDevices(text)).toEqual(slots);
});

test.each(['cpu:0', 'cpu:-1', 'tpu', 'cpu:1,2', ''])(
  "'%s' is refused and the known forms are named",
  (text) => {
    expect(() => parseDevices(text)).toThrow(UsageError);
    expect(() => parseDevices(text)).toThrow('cpu:N');
  },
);
