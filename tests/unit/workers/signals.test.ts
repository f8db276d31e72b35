import { onStopSignal, type StopSignal } from '../../../workers/signals.js';

test('the first signal stops, later ones neither stop again nor end the process', () => {
  const seen: StopSignal[] = [];
  const remove = onStopSignal((signal) => seen.push(signal));
  process.emit('SIGUSR2', 'SIGUSR2');
  process.emit('SIGTERM', 'SIGTERM');
  expect(seen).toEqual(['SIGUSR2']);
  expect(process.listenerCount('SIGTERM')).toBeGreaterThan(0);
  remove();
});
