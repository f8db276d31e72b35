import { onStopSignal, type StopSignal, stopSignals } from '../../../workers/signals.js';

test('the first signal stops, later ones neither stop again nor end the process', () => {
  const seen: StopSignal[] = [];
  const remove = onStopSignal((signal) => seen.push(signal));
  process.emit('SIGUSR2', 'SIGUSR2');
  for (const signal of stopSignals) process.emit(signal, signal);
  expect(seen).toEqual(['SIGUSR2']);
  for (const signal of stopSignals) expect(process.listenerCount(signal)).toBeGreaterThan(0);
  remove();
});
