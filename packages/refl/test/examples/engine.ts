/** The README's example of the engine: a line fitted to four points by AdamW. */
import { AdamW, backward, Parameter, ParameterGroup } from "@refl/autograd";
import { createDevice, linear, scope, tensor } from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";

using device = await createDevice({ host: nodeHost() }); // in a browser or Deno: createDevice()
const x = tensor(device, [[0], [1], [2], [3]]);
const y = tensor(device, [[1], [3], [5], [7]]);
const weight = new Parameter(tensor(device, [[0]]));
const bias = new Parameter(tensor(device, [0]));
const optimizer = new AdamW(new ParameterGroup(Object.entries({ weight, bias })), { lr: 0.05, weightDecay: 0 });
for (let step = 0; step < 400; step++) {
  optimizer.zeroGrad();
  scope(() => backward(linear(x, weight, bias).sub(y).square().mean()));
  optimizer.step();
}
console.log((await weight.data())[0], (await bias.data())[0]); // about 2 and 1
