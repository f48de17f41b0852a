import { expect, test } from "vitest";
import { ControlPlanes } from "./control-planes.ts";

test("control planes: one is used until it fails, and then the next one", async () => {
  const planes = new ControlPlanes(["a", "b", "c"]);
  const called: string[] = [];
  const call = (working: string): Promise<string> =>
    planes.call((url) => {
      called.push(url);
      return url === working ? Promise.resolve(url) : Promise.reject(new Error(`${url} is gone`));
    });
  expect(await call("a")).toBe("a");
  expect(await call("c")).toBe("c");
  expect(await call("c")).toBe("c");
  expect(called).toEqual(["a", "a", "b", "c", "c"]);
  await expect(call("none")).rejects.toThrow("b is gone");
});

test("control planes: two that notice the same failure go on by one", () => {
  const planes = new ControlPlanes(["a", "b", "c"]);
  planes.leave("a");
  planes.leave("a");
  expect(planes.current).toBe("b");
});
