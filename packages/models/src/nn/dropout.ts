/** Dropout and drop-path; both draw from the stream of `withRandom` and do nothing outside training. */
import { dropout, type PhiloxStream, ReflError, rand, type Tensor } from "@refl/tensor";
import { Module } from "./module.ts";
import { currentRandom, namedStream } from "./random.ts";

function streamOf(module: Module<never[], unknown>): PhiloxStream {
  const stream = currentRandom();
  if (!stream) {
    throw new ReflError(
      "no-random-stream",
      "dropout in training needs a random stream: run the pass in withRandom(stream, fn), or call eval()",
    );
  }
  return namedStream(stream, module.path);
}

/** Zeroes each element with probability p in training and scales the others by 1/(1−p). x: any shape. */
export class Dropout extends Module<[x: Tensor], Tensor> {
  readonly p: number;

  constructor(p: number) {
    super();
    this.p = p;
  }

  protected override compute(x: Tensor): Tensor {
    return this.training && this.p > 0 ? dropout(x, this.p, streamOf(this)) : x;
  }
}

/** Stochastic depth (Huang et al. 2016, arXiv 1603.09382): zeroes whole samples of a residual branch. x: [B, …]. */
export class DropPath extends Module<[x: Tensor], Tensor> {
  readonly p: number;

  constructor(p: number) {
    super();
    this.p = p;
  }

  protected override compute(x: Tensor): Tensor {
    if (!this.training || this.p === 0) return x;
    const shape = x.shape.map((size, i) => (i === 0 ? size : 1));
    const kept = rand(x.device, shape, streamOf(this)).ge(this.p).to(x.dtype);
    return x.mul(kept.mul(1 / (1 - this.p)));
  }
}
