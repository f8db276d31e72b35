import { onStopSignal, type StopSignal, stopSignals } from '../../../workers/signals.js';

test('the first stop signal stops, and later ones neither stop again nor end the process', () => {
  const handledSignals: StopSignal[] = [];
  const remove = onStopSignal((signal) => handledSignals.push(signal));
  process.emit('SIGUSR2', 'SIGUSR2');
  for (const signal of stopSignals) process.emit(signal, signal);
  expect(handledSignals).toEqual(['SIGUSR2']);
  for (const signal of stopSignals) expect(process.listenerCount(signal)).toBeGreaterThan(0);
  remove();
});
