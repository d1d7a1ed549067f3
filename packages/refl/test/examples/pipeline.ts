/** The README's example of a model folder: one picture for a prompt, written as PNG. */
import { TextToImagePipeline } from "@refl/models";
import { nodeFolder } from "@refl/models/node";
import { planesToBytes } from "@refl/refl";
import { encodePng, writeFileAtomic } from "@refl/refl/node";
import { createDevice } from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";

using device = await createDevice({ host: nodeHost() });
using pipeline = await TextToImagePipeline.fromFolder(nodeFolder("packages/refl/assets/models/emoji32/base"), device);
using pictures = await pipeline.generate({ prompts: ["a big cat on a blue background"], seeds: 7, steps: 12 });
const rgb = planesToBytes(Float32Array.from(await pictures.data()), 32 * 32); // from [1, 3, 32, 32] in 0..1
await writeFileAtomic("cat.png", encodePng({ width: 32, height: 32, rgb }));
