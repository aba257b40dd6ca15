/**
 * Resource constraints: the fields that a resource must have for a chain to cover it.
 *
 * A constraint covers a resource that has all of its fields with equal values. `path` is an
 * exception: it covers itself and all paths under it, segment by segment, so `src` covers `src/a`
 * but not `srcs`. A link without a constraint inherits its parent's, and a constraint must be
 * within that, so the intersection over a chain is the last constraint in it.
 */

import { equal, isObject } from "../token/canonical.ts";
import type { Json, JsonObject } from "../token/canonical.ts";

/** Whether `value` can be a constraint: an object whose `path`, if any, is normalised. */
export function isConstraint(value: Json): value is JsonObject {
  if (!isObject(value)) return false;
  return value["path"] === undefined || segmentsOf(value["path"]) !== undefined;
}

/** Whether everything that `inner` describes is within `outer`. */
export function covers(outer: JsonObject, inner: JsonObject): boolean {
  return Object.entries(outer).every(([field, wanted]) => {
    const given = Object.hasOwn(inner, field) ? inner[field] : undefined;
    return field === "path" ? isPathWithin(given, wanted) : equal(given, wanted);
  });
}

function isPathWithin(path: Json | undefined, ancestor: Json): boolean {
  const [inner, outer] = [segmentsOf(path), segmentsOf(ancestor)];
  if (inner === undefined || outer === undefined) return false;
  return outer.every((segment, index) => segment === inner[index]);
}

/** The segments of a normalised path, none for the root; undefined if it is not normalised. */
function segmentsOf(path: Json | undefined): string[] | undefined {
  if (typeof path !== "string") return undefined;
  if (path === "") return [];
  const segments = path.split("/");
  return segments.every(isPlain) ? segments : undefined;
}

/** Not empty, not `.` or `..`, and without characters that some systems read as separators. */
function isPlain(segment: string): boolean {
  return segment !== "" && segment !== "." && segment !== ".." && !/[\\\0]/.test(segment);
}
