/** The typed error of a model hub: what it refused, did not have, or delivered damaged. */
import { ReflError } from "@refl/tensor";

/**
 * Why a hub's file could not be had: `setting` (no or a wrong endpoint), `offline` (not in the cache, and nothing may be fetched), `access` (a token is
 * missing or refused), `not-found`, `unavailable` (no answer, or the server's own error), `damaged` (wrong size or hash), `protocol` (an answer that
 * no hub gives, an unsafe file name among them).
 */
export type HubErrorReason = "setting" | "offline" | "access" | "not-found" | "unavailable" | "damaged" | "protocol";

/** A model hub's file could not be had. `status` is the HTTP status of the answer, 0 where there was none. */
export class HubError extends ReflError {
  readonly reason: HubErrorReason;
  readonly status: number;
  constructor(reason: HubErrorReason, message: string, status = 0, options?: ErrorOptions) {
    super("hub", message, 2, options);
    this.reason = reason;
    this.status = status;
  }
}
