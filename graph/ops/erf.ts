/** The error function, which JavaScript lacks, to float64's precision. */

/** Returns erf(x) = 2/√π ∫₀ˣ exp(−t²) dt. */
export const erf = (x: number): number => (Math.abs(x) < 2 ? erfBySeries(x) : Math.sign(x) - signedErfc(x));

/** Returns 1 − erf(x), without the cancellation of that difference where x is large. */
export const erfc = (x: number): number => (x < 2 ? 1 - erf(x) : signedErfc(x));

/** 2/√π · exp(−x²) · Σ 2ⁿ x²ⁿ⁺¹ ÷ (1 · 3 · 5 ⋯ (2n + 1)), whose terms have one sign (Abramowitz and Stegun 7.1.6). */
function erfBySeries(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** sign(x) · erfc(|x|) for |x| ≥ 2: exp(−x²) ÷ √π ÷ (x + ½ ÷ (x + 1 ÷ (x + 3/2 ÷ (x + …)))) (7.1.14). */
function signedErfc(x: number): number {
  let fraction = x;
  for (let n = 80; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}
