import { UsageError } from '../../../shared/errors.js';
import { parseDevices } from '../../../workers/host/devices.js';

test.each([
  ['auto', ['cpu:0']],
  ['cpu', ['cpu:0']],
  ['cpu:3', ['cpu:0', 'cpu:1', 'cpu:2']],
])('devices %s give the slots %j', (text, slots) => {
  expect(parseDevices(text)).toEqual(slots);
});

test.each(['cpu:0', 'cpu:-1', 'tpu', 'cpu:1,2', ''])(
  "devices '%s' are refused, and the error names the known forms",
  (text) => {
    expect(() => parseDevices(text)).toThrow(UsageError);
    expect(() => parseDevices(text)).toThrow('cpu:N');
  },
);
