/** Activations by the names that configs use. */
import { DataError, type Tensor } from "@refl/tensor";

/** An activation as ops name it; `none` is the identity. The same names are fused into linear layers. */
export type Activation = "none" | "relu" | "gelu" | "silu" | "quickGelu";

const BY_CONFIG_NAME: Readonly<Record<string, Activation>> = {
  relu: "relu",
  gelu: "gelu",
  silu: "silu",
  swish: "silu",
  quick_gelu: "quickGelu",
};

/** The activation that a config calls `name`. @throws DataError naming file and field. */
export function activationNamed(name: string, file: string, field: string): Activation {
  const found = Object.hasOwn(BY_CONFIG_NAME, name) ? BY_CONFIG_NAME[name] : undefined;
  if (!found)
    throw new DataError(
      file,
      0,
      field,
      `${JSON.stringify(name)} is no known activation; known are ${Object.keys(BY_CONFIG_NAME).join(", ")}`,
    );
  return found;
}

/** Applies an activation elementwise. */
export function activate(x: Tensor, activation: Activation): Tensor {
  switch (activation) {
    case "none":
      return x;
    case "relu":
      return x.relu();
    case "gelu":
      return x.gelu();
    case "silu":
      return x.silu();
    case "quickGelu":
      return x.quickGelu();
  }
}
