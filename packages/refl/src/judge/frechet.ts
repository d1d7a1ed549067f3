/** Fréchet distance between the Gaussians fitted to two sets of feature vectors, in float64. */
import { ShapeError } from "@refl/tensor";

/** Mean [d] and unbiased covariance [d, d] (row-major) of features. */
export interface Gaussian {
  readonly mean: Float64Array;
  readonly covariance: Float64Array;
}

/** Fits a Gaussian to features [n, d], row-major; n at least 2. */
export function fitGaussian(features: ArrayLike<number>, d: number): Gaussian {
  const n = features.length / d;
  if (!Number.isInteger(n) || n < 2) {
    throw new ShapeError("fitGaussian", [[features.length]], `needs [n, ${d}] with n at least 2`);
  }
  const mean = new Float64Array(d);
  for (let i = 0; i < n; i++) for (let k = 0; k < d; k++) mean[k]! += features[i * d + k]! / n;
  const covariance = new Float64Array(d * d);
  const centred = new Float64Array(d);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < d; k++) centred[k] = features[i * d + k]! - mean[k]!;
    for (let a = 0; a < d; a++) {
      for (let b = 0; b < d; b++) covariance[a * d + b]! += (centred[a]! * centred[b]!) / (n - 1);
    }
  }
  return { mean, covariance };
}

const MAX_SWEEPS = 60;

/** Eigenvalues and eigenvectors (columns of `vectors`, row-major) of a symmetric matrix [d, d] by cyclic Jacobi rotations (Golub and Van Loan, §8.5). */
export function symmetricEigen(matrix: Float64Array, d: number): { values: Float64Array; vectors: Float64Array } {
  const a = Float64Array.from(matrix);
  const v = new Float64Array(d * d);
  for (let i = 0; i < d; i++) v[i * d + i] = 1;
  let scale = 0;
  for (const value of a) scale += value * value;
  for (let sweep = 0; sweep < MAX_SWEEPS; sweep++) {
    let off = 0;
    for (let i = 0; i < d; i++) for (let j = i + 1; j < d; j++) off += a[i * d + j]! ** 2;
    if (off <= scale * 1e-30) break;
    for (let p = 0; p < d; p++) {
      for (let q = p + 1; q < d; q++) {
        const apq = a[p * d + q]!;
        if (apq === 0) continue;
        const tau = (a[q * d + q]! - a[p * d + p]!) / (2 * apq);
        const t = (tau >= 0 ? 1 : -1) / (Math.abs(tau) + Math.sqrt(1 + tau * tau));
        const c = 1 / Math.sqrt(1 + t * t);
        const s = t * c;
        for (let k = 0; k < d; k++) {
          const kp = a[k * d + p]!;
          const kq = a[k * d + q]!;
          a[k * d + p] = c * kp - s * kq;
          a[k * d + q] = s * kp + c * kq;
        }
        for (let k = 0; k < d; k++) {
          const pk = a[p * d + k]!;
          const qk = a[q * d + k]!;
          a[p * d + k] = c * pk - s * qk;
          a[q * d + k] = s * pk + c * qk;
          const vp = v[k * d + p]!;
          const vq = v[k * d + q]!;
          v[k * d + p] = c * vp - s * vq;
          v[k * d + q] = s * vp + c * vq;
        }
      }
    }
  }
  return { values: Float64Array.from({ length: d }, (_, i) => a[i * d + i]!), vectors: v };
}

function multiply(a: Float64Array, b: Float64Array, d: number): Float64Array {
  const out = new Float64Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let k = 0; k < d; k++) {
      const factor = a[i * d + k]!;
      for (let j = 0; j < d; j++) out[i * d + j]! += factor * b[k * d + j]!;
    }
  }
  return out;
}

/** Square root of a symmetric positive semi-definite matrix; eigenvalues below zero by rounding count as zero. */
function symmetricRoot(matrix: Float64Array, d: number): Float64Array {
  const { values, vectors } = symmetricEigen(matrix, d);
  const scaled = new Float64Array(d * d);
  const transposed = new Float64Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) {
      scaled[i * d + j] = vectors[i * d + j]! * Math.sqrt(Math.max(0, values[j]!));
      transposed[j * d + i] = vectors[i * d + j]!;
    }
  }
  return multiply(scaled, transposed, d);
}

/**
 * Squared Fréchet distance ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½) (Heusel et al. 2017). The trace of the root is taken from the
 * eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is symmetric and has those of Σ₁ Σ₂. At least 0.
 */
export function frechetDistance(first: Gaussian, second: Gaussian): number {
  const d = first.mean.length;
  if (second.mean.length !== d) throw new ShapeError("frechetDistance", [[d], [second.mean.length]], "need one width");
  const root = symmetricRoot(first.covariance, d);
  const product = multiply(multiply(root, second.covariance, d), root, d);
  for (let i = 0; i < d; i++) {
    for (let j = i + 1; j < d; j++) {
      product[i * d + j] = product[j * d + i] = (product[i * d + j]! + product[j * d + i]!) / 2;
    }
  }
  const { values } = symmetricEigen(product, d);
  let distance = 0;
  for (let i = 0; i < d; i++) {
    distance += (first.mean[i]! - second.mean[i]!) ** 2;
    distance += first.covariance[i * d + i]! + second.covariance[i * d + i]! - 2 * Math.sqrt(Math.max(0, values[i]!));
  }
  return Math.max(0, distance);
}
