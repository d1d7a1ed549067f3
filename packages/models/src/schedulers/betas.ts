/** β and ᾱ tables, rounded where PyTorch rounds them in diffusers, so that coefficients agree with checkpoints trained there. */
import type { NoiseScheduleConfig } from "./config.ts";

const f32 = Math.fround;

/** torch.linspace in float32: from the start in the first half, from the end in the second. */
function linspaceF32(start: number, end: number, steps: number): Float32Array {
  const out = new Float32Array(steps);
  const first = f32(start);
  const last = f32(end);
  if (steps === 1) return out.fill(first);
  const step = f32(f32(last - first) / f32(steps - 1));
  const half = Math.floor(steps / 2);
  for (let i = 0; i < steps; i++) {
    out[i] = i < half ? first + step * i : last - step * (steps - 1 - i);
  }
  return out;
}

/** The cosine schedule of Improved DDPM (Nichol & Dhariwal 2021, eq. 17), β capped at 0.999; float64, rounded once. */
function squaredCosBetas(steps: number): Float32Array {
  const alphaBar = (t: number) => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
  return Float32Array.from({ length: steps }, (_, i) =>
    Math.min(1 - alphaBar((i + 1) / steps) / alphaBar(i / steps), 0.999),
  );
}

/** β for every training timestep, float32, length `num_train_timesteps`. */
export function betasFor(config: NoiseScheduleConfig): Float32Array {
  const betas = plainBetas(config);
  return config.rescale_betas_zero_snr ? zeroTerminalSnr(betas) : betas;
}

/** sqrt(ᾱ) shifted so that the last is 0 and scaled so that the first stays (arXiv 2305.08891, algorithm 1), in float32 as in diffusers. */
function zeroTerminalSnr(betas: Float32Array): Float32Array {
  const roots = alphasCumprod(betas).map(Math.sqrt);
  const first = roots[0] as number;
  const last = roots.at(-1) as number;
  const scale = f32(first / f32(first - last));
  const squares = roots.map((root) => f32(f32(root - last) * scale) ** 2);
  return squares.map((square, i) => 1 - (i === 0 ? square : f32(square / (squares[i - 1] as number))));
}

function plainBetas(config: NoiseScheduleConfig): Float32Array {
  const { num_train_timesteps: steps, beta_start: start, beta_end: end } = config;
  if (config.trained_betas) return Float32Array.from(config.trained_betas);
  switch (config.beta_schedule) {
    case "linear":
      return linspaceF32(start, end, steps);
    case "scaled_linear":
      return linspaceF32(Math.sqrt(start), Math.sqrt(end), steps).map((root) => root * root);
    case "squaredcos_cap_v2":
      return squaredCosBetas(steps);
  }
}

/** ᾱ_t = Π_{s≤t} (1 − β_s): factors in float32, the running product in float64, each result rounded to float32, as torch.cumprod on the CPU. */
export function alphasCumprod(betas: Float32Array): Float32Array {
  const out = new Float32Array(betas.length);
  let product = 1;
  for (let i = 0; i < betas.length; i++) {
    product *= f32(1 - (betas[i] as number));
    out[i] = product;
  }
  return out;
}
