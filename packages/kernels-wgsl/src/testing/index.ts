/** Float64 references and case tables of all families, for the tests of every floor and host; no product code imports this. */
import { attentionCases } from "../attention/cases.ts";
import { attentionReference } from "../attention/reference.ts";
import { convCases } from "../conv/cases.ts";
import { convReference } from "../conv/reference.ts";
import { copyCases } from "../copy/cases.ts";
import { copyReference } from "../copy/reference.ts";
import { elementwiseCases } from "../elementwise/cases.ts";
import { elementwiseReference } from "../elementwise/reference.ts";
import { embeddingCases } from "../embedding/cases.ts";
import { embeddingReference } from "../embedding/reference.ts";
import { matmulCases } from "../matmul/cases.ts";
import { matmulReference } from "../matmul/reference.ts";
import { normCases } from "../norm/cases.ts";
import { normReference } from "../norm/reference.ts";
import { reduceCases } from "../reduce/cases.ts";
import { reduceReference } from "../reduce/reference.ts";
import { resampleCases } from "../resample/cases.ts";
import { resampleReference } from "../resample/reference.ts";
import { softmaxCases } from "../softmax/cases.ts";
import { softmaxReference } from "../softmax/reference.ts";
import { viewCases } from "../view/cases.ts";
import { viewReference } from "../view/reference.ts";
import type { OpCase, ReferenceTable } from "./cases.ts";

export * from "./cases.ts";
export { drawOperand } from "./inputs.ts";

/** The reference of every op by name. */
export const references: ReferenceTable = {
  ...attentionReference,
  ...convReference,
  ...copyReference,
  ...elementwiseReference,
  ...embeddingReference,
  ...matmulReference,
  ...normReference,
  ...reduceReference,
  ...resampleReference,
  ...softmaxReference,
  ...viewReference,
};

export const opCases: readonly OpCase[] = [
  ...attentionCases,
  ...convCases,
  ...copyCases,
  ...elementwiseCases,
  ...embeddingCases,
  ...matmulCases,
  ...normCases,
  ...reduceCases,
  ...resampleCases,
  ...softmaxCases,
  ...viewCases,
];
