/** `refl doctor`: the adapter, its limits and features, and one matmul. */
import { doctor } from "@refl/refl";
import { nodeHost } from "@refl/tensor/node";
import { drive } from "../drive.ts";
import { EXIT } from "../exit.ts";
import type { CommandSlot } from "../program.ts";

/** Adds the command. It ends with 1 when a check fails and with 3 when there is no adapter. */
export function addDoctorCommand({ parent, act }: CommandSlot): void {
  parent
    .command("doctor")
    .description("tell the adapter, its limits and features, and whether and how fast it computes")
    .action(() =>
      act(async (context) => {
        const report = await drive(context, (signal) => doctor(nodeHost(), signal));
        return report.ok ? EXIT.ok : EXIT.failedCheck;
      }),
    );
}
