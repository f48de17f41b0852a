import { z } from "zod";
import { BoundedJson } from "../http/bounded-json.ts";
import { LIMITS } from "../limits.ts";
import { BindingName, BindingText } from "../versions/binding-requests.ts";
import { RequestedAnnotations } from "../versions/schemas.ts";

const SecretType = z.literal("secret_text", {
  error: "only secrets of type 'secret_text' are supported yet",
});

/** Body of `PUT secrets`. */
export const SecretRequest = z.strictObject({
  name: BindingName,
  text: BindingText,
  type: SecretType,
});
export type SecretRequest = z.infer<typeof SecretRequest>;

/** Values by name; `null` deletes. */
export type SecretChanges = ReadonlyMap<string, string | null>;

function changesOf<Value extends z.ZodType<{ readonly text: string } | null>>(value: Value) {
  return z
    .record(BindingName, value)
    .refine((changes) => Object.keys(changes).length <= LIMITS.secretsBulkMax, {
      error: `more than ${LIMITS.secretsBulkMax} secrets`,
    })
    .transform(
      (changes): SecretChanges =>
        new Map(Object.entries(changes).map(([name, change]) => [name, change?.text ?? null])),
    );
}

/** Body of `PATCH secrets-bulk`, a merge patch. */
export const SecretsPatch = z.strictObject({
  secrets: changesOf(
    z
      .strictObject({ name: BindingName.optional(), text: BindingText, type: SecretType })
      .nullable(),
  ),
});

/** Body of `PATCH versions/latest`, a merge patch of the newest version; only secrets can be in it. */
export const LatestVersionPatch = z.strictObject({
  env: changesOf(z.strictObject({ text: BindingText, type: SecretType }).nullable()),
  annotations: RequestedAnnotations.optional(),
});

/** The `settings` part of `PATCH settings`: a row with nothing but type and name keeps what is there. */
export const SettingsPatch = z.strictObject({
  bindings: z.array(z.record(z.string(), BoundedJson)).max(LIMITS.bindingsMax),
});
export type SettingsPatch = z.infer<typeof SettingsPatch>;
