/** Statements that a caller wants signed, checked before anything is decided about them. */

import { malformed, vacuousPolicy, type Refusal } from "../refusal.ts";
import { namesAreNfc, type Json } from "../token/canonical.ts";
import { parsePolicy } from "./pol.ts";
import { vacuous } from "./vacuous.ts";

/** Why no token can have the statements, or why they are not signed unless that is requested. */
export function checkPolicy(pol: Json[]): Refusal | undefined {
  const policy = parsePolicy(pol);
  if (typeof policy === "string") return malformed(policy);
  if (!namesAreNfc(pol)) return malformed("pol: a name is not in Unicode normalisation form C");
  const found = vacuous(policy);
  return found === undefined ? undefined : vacuousPolicy(found);
}
